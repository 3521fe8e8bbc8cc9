// Verifiers that are lossy by design: what they accept, by the rules of their papers.
#include <cmath>

#include "tests/support/catch.h"
#include "tests/verifiers/helpers.h"

namespace foretell::testing {
namespace {

// The probability that the one drafted token is accepted.
double accepts(const std::string& verifier, const Distribution& p, const Distribution& q, Token token,
               const std::vector<float>& logits = {}) {
  DraftTree draft(0);
  draft.propose(kAnchor, token,
                draft.add_distribution(q, q.is_point_mass() ? Draws::PointMass : Draws::WithoutReplacement));
  double accepted = 0;
  for (const auto& [outcome, chance] : outcomes_of(
           *make_verifier(verifier), draft, [&](const Tokens&) { return p; }, logits))
    if (!outcome.first.empty()) accepted += chance;
  return accepted;
}

Distribution chosen(Token token) { return Distribution::point_mass(4, token); }

const Distribution kTarget = Distribution::dense({0.5, 0.3, 0.15, 0.05});

TEST_CASE("lenient divides by a share of q, and at temperature 0 goes by the share of the best token") {
  const Distribution q = Distribution::dense({0.1, 0.1, 0.3, 0.5});
  CHECK(accepts("{type: lenient, lenience: 0.5}", kTarget, q, 2) == Approx(1.0));
  CHECK(accepts("{type: lenient, lenience: 0.8}", kTarget, q, 2) == Approx(0.15 / (0.8 * 0.3)));
  CHECK(accepts("{type: lenient, lenience: 1}", kTarget, q, 2) == Approx(0.5));
  const std::vector<float> logits = {2.0F, 1.5F, 1.0F, -3.0F};  // shares of the best: 1, 0.61, 0.37, 0.007
  CHECK(accepts("{type: lenient, lenience: 0.5}", chosen(0), chosen(1), 1, logits) == 1.0);
  CHECK(accepts("{type: lenient, lenience: 0.7}", chosen(0), chosen(1), 1, logits) == 0.0);
  CHECK(accepts("{type: lenient, lenience: 0.5}", chosen(0), chosen(2), 2, logits) == 0.0);
  CHECK(accepts("{type: lenient, lenience: 0.5}", chosen(0), chosen(0), 0, logits) == 1.0);
}

TEST_CASE("fuzzy accepts outright where the distributions are near, else by rejection") {
  const Distribution near = Distribution::dense({0.45, 0.3, 0.15, 0.1}),
                     far = Distribution::dense({0.05, 0.15, 0.3, 0.5});
  for (const char* divergence : {"js", "kl", "tvd"}) {
    INFO(divergence);
    const std::string verifier = fmt::format("{{type: fuzzy, divergence: {}, threshold: 0.06}}", divergence);
    CHECK(accepts(verifier, kTarget, near, 3) == 1.0);
    CHECK(accepts(verifier, kTarget, far, 3) == Approx(0.1));
  }
  // tvd of the two is 0.05, on either side of the threshold
  CHECK(accepts("{type: fuzzy, divergence: tvd, threshold: 0.04}", kTarget, near, 3) == Approx(0.5));
}

TEST_CASE("mars passes the runner-up where its logit is near the best one's") {
  const Distribution q = Distribution::dense({0.1, 0.4, 0.4, 0.1});
  const std::vector<float> close = {2.0F, 1.9F, 0.5F, 0.1F}, wide = {2.0F, 1.0F, 0.5F, 0.1F},
                           negative = {-2.0F, -2.1F, -3.0F, -4.0F};
  CHECK(accepts("{type: mars, theta: 0.9}", kTarget, q, 1, close) == 1.0);
  CHECK(accepts("{type: mars, theta: 0.9}", kTarget, q, 1, wide) == Approx(0.75));
  CHECK(accepts("{type: mars, theta: 0.9}", kTarget, q, 2, close) == Approx(0.375));  // no runner-up
  CHECK(accepts("{type: mars, theta: 0.9}", kTarget, q, 1, negative) == Approx(0.75));
}

TEST_CASE("relaxed acceptance is for the k best within delta of the best") {
  const Distribution q = Distribution::dense({0.1, 0.6, 0.2, 0.1});
  CHECK(accepts("{type: relaxed_top_k, relaxed_topk: 2, relaxed_delta: 0.3}", kTarget, q, 1) == 1.0);
  CHECK(accepts("{type: relaxed_top_k, relaxed_topk: 2, relaxed_delta: 0.1}", kTarget, q, 1) == Approx(0.5));
  CHECK(accepts("{type: relaxed_top_k, relaxed_topk: 2, relaxed_delta: 0.6}", kTarget, q, 2) ==
        Approx(0.75));  // third best
  CHECK(accepts("{type: relaxed_top_k, relaxed_topk: 3, relaxed_delta: 0.6}", kTarget, q, 2) == 1.0);
}

TEST_CASE("typical acceptance: above the lower of two thresholds, and the next token is typical too") {
  const double entropy = kTarget.entropy();
  REQUIRE(0.3 * std::exp(-entropy) < 0.1);
  const Distribution q = chosen(0);
  CHECK(accepts("{type: typical, posterior_threshold: 0.2, posterior_alpha: 0.3}", kTarget, chosen(2), 2) == 1.0);
  CHECK(accepts("{type: typical, posterior_threshold: 0.2, posterior_alpha: 2}", kTarget, chosen(2), 2) == 0.0);
  CHECK(accepts("{type: typical, posterior_threshold: 0.1, posterior_alpha: 2}", kTarget, chosen(2), 2) == 1.0);
  CHECK(accepts("{type: typical, posterior_threshold: 0.1, posterior_alpha: 2}", kTarget, chosen(3), 3) == 0.0);
  const Outcomes next = outcomes_of(*make_verifier("{type: typical, posterior_threshold: 0.2, posterior_alpha: 2}"),
                                    DraftTree(0), [&](const Tokens&) { return kTarget; });
  REQUIRE(next.size() == 2);
  CHECK(next.at({{}, 0}) == Approx(0.5 / 0.8));
}

TEST_CASE("synthetic accepts with the rate of the depth") {
  DraftTree draft(0);
  NodeId at = kAnchor;
  for (const Token token : {1, 2, 3}) at = draft.choose(at, token, 4);
  std::vector<double> reached(4, 0.0);
  for (const auto& [outcome, chance] : outcomes_of(*make_verifier("{type: synthetic, acceptance_rates: [0.9, 0.5]}"),
                                                   draft, [&](const Tokens&) { return kTarget; }))
    reached[outcome.first.size()] += chance;
  CHECK(reached[0] == Approx(0.1));
  CHECK(reached[1] == Approx(0.9 * 0.5));
  CHECK(reached[2] == Approx(0.9 * 0.5 * 0.5));
  CHECK(reached[3] == Approx(0.9 * 0.5 * 0.5));
}

}  // namespace
}  // namespace foretell::testing
