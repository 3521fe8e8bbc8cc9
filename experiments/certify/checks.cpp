#include "experiments/certify/checks.h"

#include <algorithm>
#include <cmath>
#include <unsupported/Eigen/SpecialFunctions>

#include "experiments/certify/enumerator.h"
#include "framework/sampling/optimal_transport.h"

namespace foretell::certify {
namespace {

constexpr double kExact = 1e-12;

Complaint compare(const Setup& setup, const std::vector<Request>& requests, int batch, const std::string& what) {
  const std::vector<Generation> got = run(setup, requests, {.batch = batch});
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const Tokens want = reference_greedy(*setup.model, requests[i]);
    if (got[i].tokens != want)
      return fmt::format("{}: request {} emitted {} tokens, expected {}; first difference at {}", what, i, got[i].tokens.size(),
                         want.size(),
                         std::mismatch(got[i].tokens.begin(), got[i].tokens.end(), want.begin(), want.end()).first - got[i].tokens.begin());
    int emitted = 0;
    for (const RoundRecord& r : got[i].rounds) emitted += r.emitted;
    if (emitted != static_cast<int>(want.size()))
      return fmt::format("{}: the rounds of request {} account for {} tokens of {}", what, i, emitted, want.size());
  }
  return std::nullopt;
}

// The probabilities of answers as enumeration finds them, and what the first round of each did.
class AnswerLaw {
 public:
  void add(const Generation& answer, double weight) {
    joint_[{answer.rounds.front().emitted, answer.tokens}] += weight;
    expected_tokens_ += weight * answer.rounds.front().emitted;
    const bool drafted = answer.rounds.front().accepted > 0;
    (drafted ? accepted_ : rejected_[answer.tokens.front()]) += weight;
  }

  double expected_tokens() const { return expected_tokens_; }
  double accepted() const { return accepted_; }
  const std::map<Token, double>& rejected() const { return rejected_; }  // the first token, where nothing was accepted

  double distance(const std::map<Tokens, double>& reference) const {
    std::map<Tokens, double> law;
    for (const auto& [key, mass] : joint_) law[key.second] += mass;
    double sum = 0;
    for (const auto& [text, mass] : reference) {
      sum += std::abs(mass - law[text]);
      law.erase(text);
    }
    for (const auto& [text, mass] : law) sum += mass;
    return sum / 2;
  }

  // Of the tokens behind the first round from the target's, given what the first round emitted.
  double later_distance(const Setup& setup, const ExactOptions& options) const {
    std::map<std::pair<int, Tokens>, double> heads;
    for (const auto& [key, mass] : joint_) heads[{key.first, head(key)}] += mass;
    double sum = 0;
    for (const auto& [key, mass] : heads) {
      Tokens text = options.prompt;
      text.insert(text.end(), key.second.begin(), key.second.end());
      const int rest = options.tokens - static_cast<int>(key.second.size());
      for (const auto& [tail, share] : reference_joint_law(*setup.model, text, rest, options.temperature)) {
        Tokens whole = key.second;
        whole.insert(whole.end(), tail.begin(), tail.end());
        const auto found = joint_.find({key.first, whole});
        sum += std::abs((found == joint_.end() ? 0.0 : found->second) - mass * share);
      }
    }
    return sum / 2;
  }

 private:
  using Key = std::pair<int, Tokens>;  // tokens of the first round; all tokens
  static Tokens head(const Key& key) {
    return {key.second.begin(), key.second.begin() + std::min<std::ptrdiff_t>(key.first, static_cast<std::ptrdiff_t>(key.second.size()))};
  }

  std::map<Key, double> joint_;
  std::map<Token, double> rejected_;
  double expected_tokens_ = 0, accepted_ = 0;
};

// The proposals at the anchor of the first draft. Their law does not depend on draws; which tokens they are does.
struct RootDraft {
  int proposals = 0;
  std::optional<DraftLaw> law = {};  // if all come from one
  double chosen_mass = 0;            // the target's probability of the proposed tokens; the same in every draft where they are chosen
};

RootDraft look_at_root(const DraftTree& draft, const Law& p) {
  const auto proposals = draft.proposals(kAnchor);
  RootDraft root{.proposals = static_cast<int>(proposals.size())};
  std::vector<NodeId> seen;
  bool one_law = !proposals.empty();
  for (const Proposal& proposal : proposals) {
    one_law = one_law && proposal.law == proposals.front().law;
    if (std::find(seen.begin(), seen.end(), proposal.node) != seen.end()) continue;
    seen.push_back(proposal.node);
    root.chosen_mass += p[draft.node(proposal.node).token];
  }
  if (one_law) root.law = draft.law(proposals.front().law);
  return root;
}

std::optional<double> bound_of(const RootDraft& root, const Law& p, bool all_chosen) {
  if (root.proposals == 0) return std::nullopt;
  if (all_chosen) return root.chosen_mass;
  if (!root.law) return std::nullopt;
  return acceptance_bound(p, root.law->q, root.proposals, root.law->kind != Draws::WithoutReplacement);
}

std::optional<double> residual_distance(const RootDraft& root, const Law& p, const AnswerLaw& law) {
  if (root.proposals != 1 || !root.law || std::abs(law.accepted() - overlap(p, root.law->q)) > 1e-9) return std::nullopt;
  const Excess expected = excess(p, root.law->q);
  if (!expected.law) return std::nullopt;
  double sum = 0;
  for (Token t = 0; t < p.vocab(); ++t) {
    const auto found = law.rejected().find(t);
    sum += std::abs((found == law.rejected().end() ? 0.0 : found->second) - expected.mass * (*expected.law)[t]);
  }
  return sum / 2;
}

}  // namespace

Complaint check_identity(const Setup& setup) {
  const Tokens prompt{1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2};
  const auto vocab = setup.model->config().vocab_size;
  const auto request = [&](Tokens tokens, int count, std::vector<Token> stops) {
    for (Token& t : tokens) t %= vocab;
    return Request{.prompt = std::move(tokens), .max_new_tokens = count, .stop_tokens = std::move(stops)};
  };
  for (const int count : {1, 2, 7, 120})
    if (auto bad = compare(setup, {request(prompt, count, {})}, 1, fmt::format("{} new tokens", count))) return bad;
  for (Token stop = 0; stop < vocab; ++stop)
    if (auto bad = compare(setup, {request(prompt, 120, {stop})}, 1, fmt::format("stop token {}", stop))) return bad;
  if (auto bad = compare(setup, {request({5}, 40, {})}, 1, "a prompt of one token")) return bad;
  // A tree near the limit: the context ends while whole drafts would still be wanted.
  const int context = setup.model->config().context;
  if (context < 100)
    if (auto bad = compare(setup, {request(prompt, 1000, {})}, 1, "a context that fills up")) return bad;
  std::vector<Request> batch;
  for (Token first = 0; first < 7; ++first) {
    batch.push_back(request({first, 2, 3, first, 2}, 20 + 13 * first, {}));
    batch.back().id = static_cast<std::uint64_t>(first);
  }
  return compare(setup, batch, 3, "batch 3");
}

ExactFindings enumerate(const Setup& setup, const ExactOptions& options) { return enumerate_up_to(setup, options).value(); }

std::optional<ExactFindings> enumerate_up_to(const Setup& setup, const ExactOptions& options) {
  Request request{.prompt = options.prompt, .max_new_tokens = options.tokens};
  request.sampling.temperature = options.temperature;
  const Law p = Law::dense(reference_law(*setup.model, options.prompt, options.temperature));

  AnswerLaw law;
  RootDraft root;
  bool all_chosen = true;
  Enumerator enumerator;
  RunOptions run_options;
  run_options.decoder.make_rng = [&](const RngKey&) { return enumerator.make_rng(); };
  run_options.decoder.on_round = [&](const RoundEvent& event) {
    if (event.round != 0) return;
    root = look_at_root(event.view.draft, p);
    for (const Proposal& proposal : event.view.draft.proposals(kAnchor))
      all_chosen = all_chosen && event.view.draft.law(proposal.law).kind == Draws::PointMass;
  };
  const bool all = enumerator.run(
      [&] {
        const Generation answer = run(setup, {request}, run_options).front();
        law.add(answer, enumerator.weight());  // the weight is known when the answer is
      },
      options.most_paths);
  if (!all) return std::nullopt;

  ExactFindings findings;
  findings.total_variation = law.distance(reference_joint_law(*setup.model, options.prompt, options.tokens, options.temperature));
  findings.later_variation = law.later_distance(setup, options);
  findings.expected_tokens = law.expected_tokens();
  if (root.proposals > 0) findings.first_drafted = law.accepted();
  findings.transport_bound = bound_of(root, p, all_chosen);
  findings.residual_variation = residual_distance(root, p, law);
  return findings;
}

Complaint complaint_of(const ExactFindings& found) {
  if (!(found.total_variation < kExact)) return fmt::format("total variation {:.3g} from the target's law", found.total_variation);
  if (!(found.later_variation < kExact))
    return fmt::format("total variation {:.3g} behind the first round, given its tokens", found.later_variation);
  if (found.residual_variation.value_or(0) > kExact)
    return fmt::format("total variation {:.3g} of the correction from the residual", *found.residual_variation);
  if (found.first_drafted && found.transport_bound && *found.first_drafted > *found.transport_bound + 1e-9)
    return fmt::format("the first token is a drafted one with probability {:.6f}, above the bound of {:.6f}", *found.first_drafted,
                       *found.transport_bound);
  return std::nullopt;
}

Complaint check_exact(const Setup& setup) {
  for (const double temperature : {1.0, 0.6})
    if (auto bad = complaint_of(enumerate(setup, {.temperature = temperature}))) return bad;
  return std::nullopt;
}

ChiSquare chi_square(const Setup& setup, int trials, std::uint64_t seed) {
  const Tokens prompt{1, 2, 1};
  std::map<Tokens, double> seen;
  const auto target = setup.target();
  const auto drafter = setup.drafter();
  const auto verifier = setup.verifier();
  const auto policy = setup.policy();
  Decoder decoder(*target, {*drafter, *verifier, *policy});
  for (int i = 0; i < trials; ++i) {
    Request request{.id = static_cast<std::uint64_t>(i), .prompt = prompt, .max_new_tokens = 3, .seed = seed};
    request.sampling.temperature = 1.0;
    ++seen[decoder.run(request).tokens];
  }
  double statistic = 0;
  const auto law = reference_joint_law(*setup.model, prompt, 3, 1.0);
  for (const auto& [text, mass] : law) statistic += std::pow(seen[text] - trials * mass, 2) / (trials * mass);
  const int freedom = static_cast<int>(law.size()) - 1;
  return {statistic, freedom, Eigen::numext::igammac(freedom / 2.0, statistic / 2)};
}

}  // namespace foretell::certify
