#include "experiments/certify/checks.h"

#include <algorithm>
#include <cmath>
#include <unsupported/Eigen/SpecialFunctions>

#include "experiments/certify/enumerator.h"
#include "framework/api/policy.h"
#include "framework/core/text.h"
#include "framework/sampling/optimal_transport.h"

namespace foretell::certify {
namespace {

constexpr double kLeastWeight = 1e-9;  // of a branch that counts as something that was exercised

Complaint compare(const Setup& setup, const std::vector<Request>& requests, const RunOptions& options,
                  const std::string& what) {
  const std::vector<Generation> got = run(setup, requests, options);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const Tokens want = reference_greedy(*setup.model, requests[i]);
    if (got[i].tokens != want)
      return fmt::format("{}: request {} emitted {}, expected {}; first difference at {}", what, i,
                         counted(got[i].tokens.size(), "token"), want.size(),
                         std::mismatch(got[i].tokens.begin(), got[i].tokens.end(), want.begin(), want.end()).first -
                             got[i].tokens.begin());
    int emitted = 0;
    for (const RoundRecord& r : got[i].rounds) emitted += r.emitted;
    if (emitted != static_cast<int>(want.size()))
      return fmt::format("{}: the rounds of request {} account for {} of {}", what, i, counted(emitted, "token"),
                         want.size());
  }
  return std::nullopt;
}

// The probabilities of answers as enumeration finds them, and what the first round of each did.
class AnswerDistribution {
 public:
  void add(const RoundRecord& first, const Tokens& answer, double weight) {
    joint_[{first.emitted, answer}] += weight;
    expected_tokens_ += weight * first.emitted;
    (first.accepted > 0 ? accepted_ : rejected_[answer.front()]) += weight;
  }

  // Answers that are not at their end go on by the target's distribution.
  void complete(const Setup& setup, const ExactOptions& options) {
    std::map<Key, double> whole;
    for (const auto& [key, mass] : joint_)
      for (const auto& [text, share] : answers_from(setup, options, key.second))
        whole[{key.first, text}] += mass * share;
    joint_ = std::move(whole);
  }

  double expected_tokens() const { return expected_tokens_; }
  double accepted() const { return accepted_; }
  const std::map<Token, double>& rejected() const { return rejected_; }  // the first token, where nothing was accepted

  double distance(const std::map<Tokens, double>& reference) const {
    std::map<Tokens, double> distribution;
    for (const auto& [key, mass] : joint_) distribution[key.second] += mass;
    double sum = 0;
    for (const auto& [text, mass] : reference) {
      sum += std::abs(mass - distribution[text]);
      distribution.erase(text);
    }
    for (const auto& [text, mass] : distribution) sum += mass;
    return sum / 2;
  }

  // Of the tokens behind the first round from the target's, given what the first round emitted.
  double later_distance(const Setup& setup, const ExactOptions& options) const {
    std::map<std::pair<int, Tokens>, double> heads;
    for (const auto& [key, mass] : joint_) heads[{key.first, head(key)}] += mass;
    double sum = 0;
    for (const auto& [key, mass] : heads) {
      for (const auto& [text, share] : answers_from(setup, options, key.second)) {
        const auto found = joint_.find({key.first, text});
        sum += std::abs((found == joint_.end() ? 0.0 : found->second) - mass * share);
      }
    }
    return sum / 2;
  }

 private:
  using Key = std::pair<int, Tokens>;  // tokens of the first round; all tokens
  static Tokens head(const Key& key) {
    return {key.second.begin(),
            key.second.begin() + std::min<std::ptrdiff_t>(key.first, static_cast<std::ptrdiff_t>(key.second.size()))};
  }

  // The answers that begin with `head`, with the target's probability of what follows it.
  static std::map<Tokens, double> answers_from(const Setup& setup, const ExactOptions& options, const Tokens& head) {
    Tokens text = options.prompt;
    text.insert(text.end(), head.begin(), head.end());
    std::map<Tokens, double> whole;
    const int rest = options.tokens - static_cast<int>(head.size());
    for (const auto& [tail, share] :
         reference_joint_distribution(*setup.model, text, rest, options.temperature, options.top_k)) {
      Tokens answer = head;
      answer.insert(answer.end(), tail.begin(), tail.end());
      whole.emplace(std::move(answer), share);
    }
    return whole;
  }

  std::map<Key, double> joint_;
  std::map<Token, double> rejected_;
  double expected_tokens_ = 0, accepted_ = 0;
};

// The proposals at the anchor of the first draft. Their distribution does not depend on draws; which tokens they are
// does.
struct RootDraft {
  int proposals = 0;
  std::optional<DraftDistribution> distribution = {};  // if all come from one
  double chosen_mass =
      0;  // the target's probability of the proposed tokens; the same in every draft where they are chosen
};

RootDraft look_at_root(const DraftTree& draft, const Distribution& p) {
  const auto proposals = draft.proposals(kAnchor);
  RootDraft root{.proposals = static_cast<int>(proposals.size())};
  std::vector<NodeId> seen;
  bool one_distribution = !proposals.empty();
  for (const Proposal& proposal : proposals) {
    one_distribution = one_distribution && proposal.distribution == proposals.front().distribution;
    if (std::find(seen.begin(), seen.end(), proposal.node) != seen.end()) continue;
    seen.push_back(proposal.node);
    root.chosen_mass += p[draft.node(proposal.node).token];
  }
  if (one_distribution) root.distribution = draft.distribution(proposals.front().distribution);
  return root;
}

std::optional<double> bound_of(const RootDraft& root, const Distribution& p, bool all_chosen) {
  if (root.proposals == 0) return std::nullopt;
  if (all_chosen) return root.chosen_mass;
  if (!root.distribution) return std::nullopt;
  return acceptance_bound(p, root.distribution->q, root.proposals,
                          root.distribution->kind != Draws::WithoutReplacement);
}

std::optional<double> residual_distance(const RootDraft& root, const Distribution& p,
                                        const AnswerDistribution& distribution, double rounding) {
  if (root.proposals != 1 || !root.distribution ||
      std::abs(distribution.accepted() - overlap(p, root.distribution->q)) > std::max(rounding, 1e-9))
    return std::nullopt;
  const Excess expected = excess(p, root.distribution->q);
  if (!expected.distribution) return std::nullopt;
  double sum = 0;
  for (Token t = 0; t < p.vocab(); ++t) {
    const auto found = distribution.rejected().find(t);
    sum += std::abs((found == distribution.rejected().end() ? 0.0 : found->second) -
                    expected.mass * (*expected.distribution)[t]);
  }
  return sum / 2;
}

}  // namespace

Complaint check_identity(const Setup& setup, Exercise* exercise) {
  const Tokens prompt{1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2};
  const auto vocab = setup.model->config().vocab_size;
  const auto request = [&](Tokens tokens, int count, std::vector<Token> stops) {
    for (Token& t : tokens) t %= vocab;
    return Request{.prompt = std::move(tokens), .max_new_tokens = count, .stop_tokens = std::move(stops)};
  };
  const RunOptions alone{.exercise = exercise};
  for (const int count : {1, 2, 7, 120})
    if (auto bad = compare(setup, {request(prompt, count, {})}, alone, counted(count, "new token"))) return bad;
  for (Token stop = 0; stop < std::min(vocab, 11); ++stop)
    if (auto bad = compare(setup, {request(prompt, 120, {stop})}, alone, fmt::format("stop token {}", stop)))
      return bad;
  if (auto bad = compare(setup, {request({5}, 40, {})}, alone, "a prompt of one token")) return bad;
  // A tree near the limit: the context ends while whole drafts would still be wanted.
  const int context = setup.model->config().context;
  if (context < 100)
    if (auto bad = compare(setup, {request(prompt, 1000, {})}, alone, "a context that fills up")) return bad;
  std::vector<Request> batch;
  for (Token first = 0; first < 7; ++first) {
    batch.push_back(request({first, 2, 3, first, 2}, 20 + 13 * first, {}));
    batch.back().id = static_cast<std::uint64_t>(first);
  }
  return compare(setup, batch, {.batch = 3, .exercise = exercise}, "batch 3");
}

namespace {

// Drafts nothing in a third of the rounds, other ones in every sequence.
class IdleRounds final : public DraftPolicy {
 public:
  explicit IdleRounds(std::unique_ptr<DraftPolicy> inner) : inner_(std::move(inner)) {}
  void plan(std::span<const PolicyView> batch, std::span<DraftBudget> budgets) override {
    inner_->plan(batch, budgets);
    for (std::size_t i = 0; i < batch.size(); ++i)
      if ((static_cast<std::uint64_t>(batch[i].committed) + batch[i].request) % 3 == 0) budgets[i] = {};
  }
  bool should_continue(const DraftStep& step) override { return inner_->should_continue(step); }
  bool wants_probs() const override { return inner_->wants_probs(); }
  bool wants_hidden_states() const override { return inner_->wants_hidden_states(); }
  void observe(std::span<const RoundRecord> rounds) override { inner_->observe(rounds); }

 private:
  std::unique_ptr<DraftPolicy> inner_;
};

// Sixteen of several lengths, each with something to copy.
std::vector<Request> assorted_requests(int vocab) {
  std::vector<Request> out;
  for (int i = 0; i < 16; ++i) {
    Request request{.id = static_cast<std::uint64_t>(i), .max_new_tokens = 9 + 5 * i % 16, .seed = 3};
    for (int at = 0; at < 1 + 7 * i % 23; ++at) request.prompt.push_back((at % (3 + i % 4) * (i + 1) + i) % vocab);
    out.push_back(std::move(request));
  }
  return out;
}

Complaint compare_with_alone(const Setup& setup, std::vector<Request> requests) {
  for (Request& request : requests) request.sampling.temperature = 1.0;
  const std::vector<Generation> alone = run(setup, requests);
  for (const int batch : {2, 8, 16}) {
    const std::vector<Generation> together = run(setup, requests, {.batch = batch});
    for (std::size_t i = 0; i < requests.size(); ++i)
      if (alone[i].tokens != together[i].tokens)
        return fmt::format("request {} draws another text in a batch of {} than alone", i, batch);
  }
  return std::nullopt;
}

}  // namespace

Complaint check_real(const Setup& setup, const RealOptions& options, Exercise* exercise) {
  const int vocab = setup.model->config().vocab_size;
  const std::vector<Request> requests = assorted_requests(vocab);
  if (options.lossless) {
    for (const int batch : {1, 2, 8, 16})
      if (auto bad = compare(setup, requests, {.batch = batch, .exercise = exercise}, fmt::format("batch {}", batch)))
        return bad;
    Setup idle = setup;
    idle.policy = [make = setup.policy] { return std::make_unique<IdleRounds>(make()); };
    if (auto bad = compare(idle, requests, {.batch = 8, .exercise = exercise}, "batch 8 with rounds without a draft"))
      return bad;
    const Request longer{.prompt = {1, 2, 3, 4, 1, 2, 3}, .max_new_tokens = options.horizon};
    if (auto bad = compare(setup, {longer}, {.exercise = exercise}, counted(options.horizon, "new token"))) return bad;
  }
  if (setup.depends_on_the_run || incompatibility(setup, 1.0)) return std::nullopt;
  return compare_with_alone(setup, requests);
}

ExactFindings enumerate(const Setup& setup, const ExactOptions& options) {
  return enumerate_up_to(setup, options).value();
}

std::optional<ExactFindings> enumerate_up_to(const Setup& setup, const ExactOptions& options) {
  Request request{.prompt = options.prompt, .max_new_tokens = options.tokens};
  request.sampling.temperature = options.temperature;
  request.sampling.top_k = options.top_k;
  const Distribution p =
      Distribution::dense(reference_distribution(*setup.model, options.prompt, options.temperature, options.top_k));

  AnswerDistribution distribution;
  RootDraft root;
  bool all_chosen = true;
  Exercise exercise, branch;
  RoundRecord first;
  Tokens answer;
  Enumerator enumerator;
  decoding::DecoderOptions decoder_options;
  decoder_options.make_rng = [&](const RngKey&) { return enumerator.make_rng(); };
  decoder_options.on_round = [&](const decoding::RoundEvent& event) {
    const TokenSpan generated = event.view.committed.subspan(options.prompt.size());
    answer.assign(generated.begin(), generated.end());
    if (event.round != 0) return;
    first = event.record;
    root = look_at_root(event.view.draft, p);
    for (const Proposal& proposal : event.view.draft.proposals(kAnchor))
      all_chosen = all_chosen && event.view.draft.distribution(proposal.distribution).kind == Draws::PointMass;
  };
  decoder_options = counting(setup, branch, std::move(decoder_options));
  const bool all = enumerator.run(
      [&] {
        const auto target = setup.target();
        const auto drafter = setup.drafter();
        const auto verifier = setup.verifier();
        const auto policy = setup.policy();
        decoding::Decoder decoder(*target, {*drafter, *verifier, *policy}, decoder_options);
        answer.clear();
        branch = {};
        decoder.add_request(request);
        for (int round = 0;
             (options.rounds == 0 || round < options.rounds) && static_cast<int>(answer.size()) < options.tokens;
             ++round)
          decoder.step();
        distribution.add(first, answer, enumerator.weight());  // the weight is known when the answer is
        if (enumerator.weight() > kLeastWeight) exercise += branch;
      },
      options.most_paths);
  if (!all) return std::nullopt;
  if (options.rounds > 0) distribution.complete(setup, options);

  ExactFindings findings{.rounding = setup.model->rounding()};
  findings.total_variation = distribution.distance(
      reference_joint_distribution(*setup.model, options.prompt, options.tokens, options.temperature, options.top_k));
  findings.later_variation = distribution.later_distance(setup, options);
  findings.expected_tokens = distribution.expected_tokens();
  if (root.proposals > 0) findings.first_drafted = distribution.accepted();
  findings.transport_bound = bound_of(root, p, all_chosen);
  findings.residual_variation = residual_distance(root, p, distribution, findings.rounding);
  findings.exercise = std::move(exercise);
  return findings;
}

Complaint complaint_of(const ExactFindings& found) {
  if (!(found.total_variation < found.rounding))
    return fmt::format("total variation {:.3g} from the target's distribution", found.total_variation);
  if (!(found.later_variation < found.rounding))
    return fmt::format("total variation {:.3g} behind the first round, given its tokens", found.later_variation);
  if (found.residual_variation.value_or(0) > found.rounding)
    return fmt::format("total variation {:.3g} of the correction from the residual", *found.residual_variation);
  if (found.first_drafted && found.transport_bound &&
      *found.first_drafted > *found.transport_bound + std::max(found.rounding, 1e-9))
    return fmt::format("the first token is a drafted one with probability {:.6f}, above the bound of {:.6f}",
                       *found.first_drafted, *found.transport_bound);
  return std::nullopt;
}

Complaint check_exact(const Setup& setup) {
  for (const double temperature : {1.0, 0.6})
    if (auto bad = complaint_of(enumerate(setup, {.temperature = temperature}))) return bad;
  return std::nullopt;
}

ChiSquare chi_square(const Setup& setup, const ChiSquareOptions& options) {
  constexpr double kLeastExpected = 5;
  std::map<Tokens, double> seen;
  Exercise exercise;
  const auto target = setup.target();
  const auto drafter = setup.drafter();
  const auto verifier = setup.verifier();
  const auto policy = setup.policy();
  decoding::Decoder decoder(*target, {*drafter, *verifier, *policy}, counting(setup, exercise));
  for (int i = 0; i < options.trials; ++i) {
    Request request{.id = static_cast<std::uint64_t>(i),
                    .prompt = options.prompt,
                    .max_new_tokens = options.tokens,
                    .seed = options.seed};
    request.sampling.temperature = 1.0;
    request.sampling.top_k = options.top_k;
    ++seen[decoder.run(request).tokens];
  }
  double statistic = 0;
  int cells = 0;
  const auto add_cell = [&](double count, double expected) {
    if (count == 0 && expected == 0) return;
    statistic += std::pow(count - expected, 2) / std::max(expected, 1e-300);
    ++cells;
  };
  double rare = 0, rare_expected = 0;
  for (const auto& [text, mass] :
       reference_joint_distribution(*setup.model, options.prompt, options.tokens, 1.0, options.top_k)) {
    const double expected = options.trials * mass;
    if (expected >= kLeastExpected) {
      add_cell(seen[text], expected);
    } else {
      rare += seen[text];
      rare_expected += expected;
    }
  }
  add_cell(rare, rare_expected);
  const int freedom = cells - 1;
  return {statistic, freedom, freedom > 0 ? Eigen::numext::igammac(freedom / 2.0, statistic / 2) : 1.0,
          std::move(exercise)};
}

}  // namespace foretell::certify
