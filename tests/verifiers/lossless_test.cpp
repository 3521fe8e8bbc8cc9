// Lossless verifiers at depths that the certificate's toy cannot be walked to.
#include <algorithm>
#include <cmath>

#include "experiments/certify/enumerator.h"
#include "framework/sampling/optimal_transport.h"
#include "tests/support/catch.h"
#include "tests/verifiers/helpers.h"

namespace foretell::testing {
namespace {

// How drafts are made: `width` proposals at each node, `depth` levels.
struct Shape {
  const char* name;
  DraftForm form;
  int vocab, width, depth;
};

const Shape kChain = {"chain of 5", {.without_replacement = true}, 2, 1, 5};
const std::vector<Shape> kTrees = {
    {"chosen tree", {.tree = true, .point_mass = true}, 3, 2, 2},
    {"independent draws", {.tree = true, .independent = true}, 3, 3, 1},
    {"tree of independent draws", {.tree = true, .independent = true}, 2, 2, 2},
    {"tree of draws without replacement", {.tree = true, .without_replacement = true}, 3, 2, 2},
    {"draws from two distributions", {.tree = true, .independent = true, .several_distributions = true}, 3, 2, 2},
};

DraftTree drawn(const Shape& shape, std::uint64_t seed, Rng& rng) {
  DraftTree draft(0);
  const DistributionAfter one = random_distributions(shape.vocab, 100 + seed),
                          other = random_distributions(shape.vocab, 200 + seed);
  const Draws kind = shape.form.independent ? Draws::IndependentDraws : Draws::WithoutReplacement;
  for (NodeId node = 0; node < draft.size(); ++node) {
    if (draft.depth(node) == shape.depth) continue;
    const Tokens path = draft.path(node);
    if (shape.form.point_mass) {
      for (const Token token : one(path).top(shape.width)) draft.choose(node, token, shape.vocab);
      continue;
    }
    const DistributionId first = draft.add_distribution(one(path), kind),
                         second = shape.form.several_distributions ? draft.add_distribution(other(path), kind) : first;
    std::optional<Distribution> left = one(path);
    for (int i = 0; i < shape.width; ++i) {
      const DistributionId distribution = i % 2 == 0 ? first : second;
      const Token token = (shape.form.without_replacement ? *left : draft.distribution(distribution).q).draw(rng);
      draft.propose(node, token, distribution);
      left = without(*left, token);
    }
  }
  return draft;
}

double probability(const DistributionAfter& distribution, const Tokens& text, std::size_t from = 0) {
  double product = 1;
  for (std::size_t i = from; i < text.size(); ++i)
    product *= distribution(Tokens(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(i)))[text[i]];
  return product;
}

template <class Visit>
void each_text(int vocab, int length, const Visit& visit) {
  const auto count = static_cast<int>(std::pow(vocab, length));
  for (int code = 0; code < count; ++code) {
    Tokens text;
    for (int i = 0, rest = code; i < length; ++i, rest /= vocab) text.push_back(rest % vocab);
    visit(text);
  }
}

// The total variation of depth + 1 tokens from the target's: every draft, every branch of the verifier, and from p what
// the round did not emit.
double variation(const Verifier& verifier, const Shape& shape, std::uint64_t seed) {
  const DistributionAfter p = random_distributions(shape.vocab, seed);
  std::map<Tokens, double> rounds;
  certify::Enumerator enumerator;
  enumerator.run([&] {
    const auto rng = enumerator.make_rng();
    const DraftTree draft = drawn(shape, seed, *rng);
    TableScores scores(draft, p);
    const Verdict verdict = verifier.verify(draft, scores, *rng);
    Tokens round = verdict.accepted.empty() ? Tokens() : draft.path(verdict.accepted.back());
    round.push_back(verdict.next);
    rounds[round] += enumerator.weight();
  });
  double distance = 0;
  each_text(shape.vocab, shape.depth + 1, [&](const Tokens& text) {
    double emitted = 0;
    for (std::size_t length = 1; length <= text.size(); ++length)
      if (const auto found = rounds.find(Tokens(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(length)));
          found != rounds.end())
        emitted += found->second * probability(p, text, length);
    distance += std::abs(emitted - probability(p, text)) / 2;
  });
  return distance;
}

// How many lossless verifiers take such drafts; each is checked.
int check_all(const Shape& shape) {
  int checked = 0;
  for (const auto& [name, entry] : Registry<Verifier>::instance().entries()) {
    if (!entry.info.lossless.value_or(false)) continue;
    const auto verifier = make_verifier(name);
    if (verifier->unsupported_reason(shape.form, {.temperature = 1.0})) continue;
    ++checked;
    for (const std::uint64_t seed : {1, 2}) {
      INFO(name << ", " << shape.name << ", seed " << seed);
      CHECK(variation(*verifier, shape, seed) < 1e-12);
    }
  }
  return checked;
}

TEST_CASE("every lossless verifier keeps the target's distribution on a chain of 5, by enumeration") {
  CHECK(check_all(kChain) >= 8);
}

TEST_CASE("every lossless verifier keeps the target's distribution on trees, by enumeration") {
  for (const Shape& shape : kTrees) CHECK(check_all(shape) >= 4);
}

TEST_CASE("greedy keeps a draft as far as it is the target's argmax at each place") {
  for (const std::uint64_t seed : {1, 2, 3}) {
    // Temperature 0: all of it at the most probable token.
    const DistributionAfter p = [soft = random_distributions(4, seed)](const Tokens& path) {
      return Distribution::point_mass(4, soft(path).mode());
    };
    Tokens text;
    while (text.size() < 6) text.push_back(p(text).mode());
    for (std::size_t wrong = 0; wrong <= 5; ++wrong) {
      DraftTree draft(0);
      NodeId at = kAnchor;
      for (std::size_t i = 0; i < 5; ++i) at = draft.choose(at, i == wrong ? (text[i] + 1) % 4 : text[i], 4);
      const Outcomes outcomes = outcomes_of(*make_verifier("greedy"), draft, p);
      REQUIRE(outcomes.size() == 1);
      CHECK(outcomes.begin()->first.first.size() == wrong);
      CHECK(outcomes.begin()->first.second == text[wrong]);
    }
  }
}

// Without this the checks above would show nothing.
TEST_CASE("the biased control is found on chains and trees") {
  const auto biased = make_verifier("nucleus_biased");
  for (const Shape& shape : {Shape{"chain of 3", kChain.form, 2, 1, 3}, kTrees[0], kTrees[1]}) {
    INFO(shape.name);
    CHECK(variation(*biased, shape, 1) > 0.01);
  }
}

// Of `draws` independent draws from q at one node, the probability that a verifier accepts one.
double accepted_draws(const Verifier& verifier, const Distribution& p, const Distribution& q, int draws) {
  const int vocab = p.vocab();
  double accepted = 0;
  for (int code = 0; code < std::pow(vocab, draws); ++code) {
    DraftTree draft(0);
    const DistributionId distribution = draft.add_distribution(q, Draws::IndependentDraws);
    double weight = 1;
    for (int i = 0, rest = code; i < draws; ++i, rest /= vocab) {
      draft.propose(kAnchor, rest % vocab, distribution);
      weight *= q[rest % vocab];
    }
    for (const auto& [outcome, chance] : outcomes_of(verifier, draft, [&](const Tokens&) { return p; }))
      if (!outcome.first.empty()) accepted += weight * chance;
  }
  return accepted;
}

TEST_CASE("spectr accepts what its equation for rho promises") {
  const auto spectr = make_verifier("spectr"), rejection = make_verifier("rejection");
  for (const std::uint64_t seed : {1, 2, 3, 4}) {
    const Distribution p = random_distributions(4, seed)({}), q = random_distributions(4, 100 + seed)({});
    for (const int draws : {1, 2, 3}) {
      INFO("seed " << seed << ", " << draws << " draws");
      // beta falls and rho beta rises with rho, so the equation has one solution: the smallest rho that is allowed,
      // which accepts most.
      double low = 1, high = draws, any = 0;
      for (int i = 0; i < 100; ++i) {
        const double rho = (low + high) / 2;
        double beta = 0;
        for (Token t = 0; t < 4; ++t) beta += std::min(p[t] / rho, q[t]);
        any = 1 - std::pow(1 - beta, draws);
        (any > rho * beta ? low : high) = rho;
      }
      const double accepted = accepted_draws(*spectr, p, q, draws);
      CHECK(accepted == Approx(any).margin(1e-9));
      // The bound that the paper proves, and what one draw would have given.
      CHECK(accepted >= (1 - std::pow(1 - 1.0 / draws, draws)) * acceptance_bound(p, q, draws, true) - 1e-9);
      CHECK(accepted >= overlap(p, q) - 1e-9);
      if (draws == 1) CHECK(accepted == Approx(accepted_draws(*rejection, p, q, 1)).margin(1e-9));
    }
  }
}

// How many of two drafted tokens are accepted: the probability of each number.
std::vector<double> accepted_of(const char* verifier, const DraftTree& draft, const DistributionAfter& p) {
  std::vector<double> accepted(3, 0.0);
  for (const auto& [outcome, chance] : outcomes_of(*make_verifier(verifier), draft, p))
    accepted[outcome.first.size()] += chance;
  return accepted;
}

TEST_CASE("what rejection and block verification accept of a chain is what their papers derive") {
  const DistributionAfter p = random_distributions(3, 11), q = random_distributions(3, 12);
  double rejection = 0, block = 0;
  for (Token a = 0; a < 3; ++a) {
    for (Token b = 0; b < 3; ++b) {
      DraftTree draft(0);
      const NodeId first = draft.propose(kAnchor, a, draft.add_distribution(q({}), Draws::WithoutReplacement));
      draft.propose(first, b, draft.add_distribution(q({a}), Draws::WithoutReplacement));
      const double one = std::min(1.0, p({})[a] / q({})[a]), ratio = p({a})[b] / q({a})[b],
                   weight = q({})[a] * q({a})[b];
      const auto by_token = accepted_of("rejection", draft, p), as_block = accepted_of("block", draft, p);
      CHECK(by_token[2] == Approx(one * std::min(1.0, ratio)).margin(1e-12));
      CHECK(as_block[2] == Approx(std::min(1.0, one * ratio)).margin(1e-12));
      rejection += weight * (by_token[1] + 2 * by_token[2]);
      block += weight * (as_block[1] + 2 * as_block[2]);
    }
  }
  CHECK(block >= rejection - 1e-12);
}

}  // namespace
}  // namespace foretell::testing
