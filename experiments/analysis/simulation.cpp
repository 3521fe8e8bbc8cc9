#include "experiments/analysis/simulation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "experiments/util/table.h"
#include "framework/api/build_context.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/decoding/decoder.h"
#include "framework/replay/replay_target.h"

namespace foretell::analysis {
namespace {

using datasets::AcceptRun;

// The recorded tokens do not matter, only whether a drafted one is right.
constexpr int kTwoTokens = 2;
constexpr Token kRightToken = 0, kWrongToken = 1;

class AcceptLengths final : public RequestData {
 public:
  explicit AcceptLengths(const std::vector<int>& lengths) : lengths_(&lengths) {}
  // Of a draft at this position, however long.
  int accepted(std::size_t position) const { return (*lengths_)[position] - 1; }

 private:
  const std::vector<int>* lengths_;
};

class RecordedDrafter final : public Drafter {
 public:
  explicit RecordedDrafter(int depth) : depth_(depth) {}
  DraftBudget limits() const override { return {depth_, depth_, 1}; }
  DraftForm form() const override { return {.point_mass = true}; }

  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override {
    std::vector<DraftTree> drafts;
    for (const DraftContext& context : batch) drafts.push_back(draft(context));
    return drafts;
  }

 private:
  static DraftTree draft(const DraftContext& context) {
    const auto& lengths = dynamic_cast<const AcceptLengths&>(*context.request.data);
    const int right = lengths.accepted(context.generated().size());
    DraftTree tree(context.committed.back());
    NodeId at = kAnchor;
    for (int depth = 1; depth <= std::min(context.budget.depth, context.budget.nodes); ++depth) {
      if (!context.policy.should_continue({context.slot, depth, nullptr, 1, 1})) break;
      at = tree.choose(at, depth <= right ? kRightToken : kWrongToken, context.vocab);
    }
    return tree;
  }

  int depth_;
};

// Of the whole draft, whose levels follow one another.
double draft_ns(const cost::RowCosts& costs, int depth) { return depth * costs.draft(1); }

class CostClock final : public decoding::StepClock {
 public:
  explicit CostClock(const cost::RowCosts& costs) : costs_(costs) {}
  void set_times(std::span<const Round>, std::span<RoundRecord> records) const override {
    for (RoundRecord& record : records)
      record.ns = {.draft = std::llround(draft_ns(costs_, record.depth)),
                   .score = std::llround(costs_.target(record.scored))};
  }

 private:
  const cost::RowCosts& costs_;
};

// The lengths of least time, by position.
std::vector<int> best_lengths(const std::vector<int>& lengths, int depth, const cost::RowCosts& costs) {
  const std::size_t n = lengths.size();
  std::vector<double> time(static_cast<std::size_t>(depth) + 1);
  for (std::size_t k = 0; k < time.size(); ++k)
    time[k] = draft_ns(costs, static_cast<int>(k)) + costs.target(static_cast<double>(k) + 1);
  std::vector<double> left(n + 1, 0.0);
  std::vector<int> best(n, 0);
  for (std::size_t i = n; i-- > 0;) {
    const std::size_t most = std::min({static_cast<std::size_t>(lengths[i]) - 1, time.size() - 1, n - i - 1});
    left[i] = std::numeric_limits<double>::infinity();
    for (std::size_t k = 0; k <= most; ++k) {
      const double all = time[k] + left[i + k + 1];
      if (all >= left[i]) continue;
      left[i] = all;
      best[i] = static_cast<int>(k);
    }
  }
  return best;
}

class OraclePolicy final : public DraftPolicy {
 public:
  explicit OraclePolicy(std::vector<std::vector<int>> lengths) : lengths_(std::move(lengths)) {}
  void plan(std::span<const PolicyView> batch, std::span<DraftBudget> budgets) override {
    for (std::size_t i = 0; i < batch.size(); ++i)
      budgets[i].depth = lengths_[batch[i].request][static_cast<std::size_t>(batch[i].generated)];
  }

 private:
  std::vector<std::vector<int>> lengths_;  // by request and position
};

// Requests whose ids are their places.
std::vector<Request> requests_of(const std::vector<AcceptRun>& runs, const std::string& arm) {
  std::vector<Request> requests;
  for (const AcceptRun& run : runs) {
    const auto found = run.arms.find(arm);
    if (found == run.arms.end()) continue;
    Request request{.id = requests.size(),
                    .prompt = Tokens(run.prompt.size(), kRightToken),
                    .max_new_tokens = static_cast<int>(found->second.size()),
                    .reference = Tokens(found->second.size(), kRightToken),
                    .data = std::make_shared<AcceptLengths>(found->second),
                    .name = run.id};
    requests.push_back(std::move(request));
  }
  return requests;
}

struct Course {
  int depth;
  const cost::RowCosts& costs;
  const std::vector<Request>& requests;
};

void count(const Course& course, const Generation& generation, SimulatedPolicy& out,
           std::vector<metrics::PromptPair>& lengths, std::vector<metrics::PromptPair>& times) {
  const auto tokens = static_cast<double>(generation.tokens.size());
  const auto rounds = static_cast<double>(generation.rounds.size());
  double ns = 0;
  for (const RoundRecord& round : generation.rounds) {
    ns += static_cast<double>(round.ns.total());
    out.drafted += round.drafted;
    out.accepted += round.accepted;
  }
  out.tokens += static_cast<std::int64_t>(generation.tokens.size());
  out.rounds += static_cast<std::int64_t>(generation.rounds.size());
  // Tokens over rounds, as a ratio to one token in one round.
  lengths.push_back({.method_tokens = tokens, .method_ns = rounds, .baseline_tokens = tokens, .baseline_ns = tokens});
  times.push_back({.method_tokens = tokens,
                   .method_ns = ns,
                   .baseline_tokens = tokens,
                   .baseline_ns = tokens * course.costs.target(1)});
}

void run_policy(const Course& course, DraftPolicy& policy, SimulatedPolicy& out) {
  const auto target = replay::make_replay_target(kTwoTokens);
  RecordedDrafter drafter(course.depth);
  const BuildContext nothing{.vocab = kTwoTokens};
  const auto verifier = Registry<Verifier>::instance().make(parse_yaml("greedy", ""), nothing);
  const CostClock clock(course.costs);
  decoding::Decoder decoder(*target, {drafter, *verifier, policy}, {.clock = &clock});
  std::vector<metrics::PromptPair> lengths, times;
  for (const Request& request : course.requests) count(course, decoder.run(request), out, lengths, times);
  out.length = metrics::paired_speedup(lengths);
  out.speedup = metrics::paired_speedup(times);
}

SimulatedPolicy simulated(const Course& course, const PolicyChoice& choice,
                          std::shared_ptr<const cost::RowCosts> costs) {
  SimulatedPolicy out{.name = choice.description.to_flow()};
  const BuildContext context{.vocab = kTwoTokens, .row_costs = [costs] { return costs; }};
  std::unique_ptr<DraftPolicy> policy;
  try {
    policy = Registry<DraftPolicy>::instance().make(choice.description, context);
  } catch (const Error& error) {
    if (choice.needed) throw;
    out.unsupported = error.what();
    return out;
  }
  if (policy->wants_probs())
    out.unsupported = "asks for the draft's distributions, which such a run does not have";
  else if (policy->wants_hidden_states())
    out.unsupported = "asks for the draft's hidden states, which such a run does not have";
  else
    run_policy(course, *policy, out);
  return out;
}

SimulatedPolicy simulated_oracle(const Course& course, const std::vector<AcceptRun>& runs, const std::string& arm) {
  std::vector<std::vector<int>> lengths;
  for (const AcceptRun& run : runs)
    if (const auto found = run.arms.find(arm); found != run.arms.end())
      lengths.push_back(best_lengths(found->second, course.depth, course.costs));
  SimulatedPolicy out{.name = "oracle"};
  OraclePolicy policy(std::move(lengths));
  run_policy(course, policy, out);
  return out;
}

Token highest_token(const std::vector<AcceptRun>& runs) {
  Token highest = 0;
  for (const AcceptRun& run : runs)
    for (const Tokens* tokens : {&run.prompt, &run.generated})
      for (const Token token : *tokens) highest = std::max(highest, token);
  return highest;
}

// Tokens that a round emits with this draft, where these follow.
int emitted_by_draft(const DraftTree& draft, TokenSpan ahead) {
  int length = 1;
  NodeId node = kAnchor;
  for (const Token token : ahead) {
    const auto child = draft.child(node, token);
    if (!child) break;
    node = *child;
    ++length;
  }
  return length;
}

void count_agreement(const AcceptRun& run, const std::vector<int>& lengths, int vocab, Drafter& lookup,
                     LookupAgreement& out) {
  const auto policy = Registry<DraftPolicy>::instance().make(parse_yaml("fixed", ""), {.vocab = vocab});
  const Request request{.prompt = run.prompt, .max_new_tokens = static_cast<int>(run.generated.size())};
  const Sampler sampler(request.sampling, vocab);
  Tokens text = run.prompt;
  text.insert(text.end(), run.generated.begin(), run.generated.end());
  const TokenSpan all = text;
  std::int64_t equal = 0;
  lookup.begin(0, {request, run.prompt});
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    const std::size_t size = run.prompt.size() + i;
    PhiloxRng rng({0, 0, static_cast<std::uint32_t>(size), RngPurpose::Draft});
    const DraftContext context{0, request, sampler, all.first(size), lookup.limits(), rng, *policy, nullptr, vocab};
    equal += emitted_by_draft(lookup.draft(std::span(&context, 1)).front(), all.subspan(size)) == lengths[i];
  }
  lookup.end(0);
  const auto positions = static_cast<std::int64_t>(lengths.size());
  ++out.prompts;
  out.positions += positions;
  out.equal += equal;
  out.equal_prompts += equal == positions;
}

nlohmann::ordered_json estimate_json(const metrics::Estimate& estimate) {
  nlohmann::ordered_json json{{"value", estimate.value ? nlohmann::ordered_json(*estimate.value) : nullptr},
                              {"interval", nullptr},
                              {"prompts", estimate.samples}};
  if (estimate.interval) json["interval"] = {estimate.interval->low, estimate.interval->high};
  return json;
}

std::string interval_text(const metrics::Estimate& estimate) {
  return estimate.interval ? fmt::format("{:.3f}-{:.3f}", estimate.interval->low, estimate.interval->high) : "-";
}

}  // namespace

std::shared_ptr<const cost::RowCosts> ratio_costs(double ratio) {
  constexpr double kStep = 1e6;  // [ns] whole nanoseconds of a draft token are then exact enough
  return std::make_shared<cost::RowCosts>(std::vector<cost::RowCost>{{1, kStep}},
                                          std::vector<cost::RowCost>{{1, ratio * kStep}});
}

std::shared_ptr<const cost::RowCosts> roofline_costs(const formats::ModelConfig& target,
                                                     const cost::operators::Hardware& hardware,
                                                     const cost::operators::DraftSource& source,
                                                     cost::operators::SpeculationCase of, int depth) {
  constexpr double kNanoseconds = 1e9;
  std::vector<cost::RowCost> rows;
  double draft = 0;
  for (int k = 1; k <= depth; ++k) {
    of.levels.assign(static_cast<std::size_t>(k) + 1, 1.0);
    const auto costs = cost::operators::speculation_costs(target, hardware, source, of);
    if (k == 1) {
      rows.push_back({1, costs.plain * kNanoseconds});
      draft = costs.draft * kNanoseconds;
    }
    rows.push_back({k + 1, costs.verify * kNanoseconds});
  }
  return std::make_shared<cost::RowCosts>(std::move(rows), std::vector<cost::RowCost>{{1, draft}});
}

std::vector<std::string> arms_of(const std::vector<AcceptRun>& runs) {
  std::set<std::string> arms;
  for (const AcceptRun& run : runs)
    for (const auto& [name, lengths] : run.arms) arms.insert(name);
  return {arms.begin(), arms.end()};
}

int longest_draft(const std::vector<AcceptRun>& runs, const std::string& arm) {
  int longest = 0;
  for (const AcceptRun& run : runs)
    if (const auto found = run.arms.find(arm); found != run.arms.end())
      longest = std::max(longest, *std::max_element(found->second.begin(), found->second.end()) - 1);
  return longest;
}

std::vector<PolicyChoice> all_length_policies(const std::vector<int>& fixed) {
  std::vector<PolicyChoice> all;
  all.reserve(fixed.size() + Registry<DraftPolicy>::instance().entries().size());
  for (const int length : fixed)
    all.push_back({.description = parse_yaml(fmt::format("{{type: fixed, num_speculative_tokens: {}}}", length), "")});
  for (const auto& [name, entry] : Registry<DraftPolicy>::instance().entries())
    if (name != "fixed")
      all.push_back({.description = parse_yaml(fmt::format("{{type: {}}}", name), ""), .needed = false});
  return all;
}

Simulation simulate(const std::vector<AcceptRun>& runs, const std::string& arm, int depth,
                    std::shared_ptr<const cost::RowCosts> costs, const std::vector<PolicyChoice>& policies) {
  const std::vector<Request> requests = requests_of(runs, arm);
  FORETELL_CHECK(!requests.empty(), "no run has the arm {}", arm);
  Simulation out{
      .arm = arm, .prompts = static_cast<int>(requests.size()), .depth = depth, .costs = costs, .policies = {}};
  for (const Request& request : requests) out.tokens += request.max_new_tokens;
  const Course course{depth, *costs, requests};
  for (const PolicyChoice& choice : policies) out.policies.push_back(simulated(course, choice, costs));
  out.policies.push_back(simulated_oracle(course, runs, arm));
  return out;
}

LookupAgreement lookup_agreement(const std::vector<AcceptRun>& runs, const std::string& arm,
                                 const ConfigValue& drafter) {
  const BuildContext context{.vocab = highest_token(runs) + 1};
  const auto lookup = Registry<Drafter>::instance().make(drafter, context);
  if (!lookup->required_hidden_states().empty() || !lookup->form().point_mass || lookup->form().tree)
    fail("--lookup: {} is none of a chain of tokens that needs no model", lookup->label());
  LookupAgreement out;
  for (const AcceptRun& run : runs) {
    const auto found = run.arms.find(arm);
    if (found == run.arms.end()) continue;
    if (found->second.size() == run.generated.size())
      count_agreement(run, found->second, context.vocab, *lookup, out);
    else
      ++out.other_generations;
  }
  return out;
}

nlohmann::ordered_json to_json(const Simulation& simulation) {
  const cost::RowCosts& costs = *simulation.costs;
  nlohmann::ordered_json json{{"arm", simulation.arm},
                              {"prompts", simulation.prompts},
                              {"tokens", simulation.tokens},
                              {"draft_tokens", simulation.depth},
                              {"draft_token_cost", costs.draft(1) / costs.target(1)},
                              {"longest_verification_cost", costs.target(simulation.depth + 1) / costs.target(1)},
                              {"policies", nlohmann::ordered_json::array()}};
  for (const SimulatedPolicy& policy : simulation.policies) {
    nlohmann::ordered_json entry{{"policy", policy.name}};
    if (!policy.unsupported.empty()) {
      entry["unsupported"] = policy.unsupported;
    } else {
      entry["mean_accepted_length"] = estimate_json(policy.length);
      entry["speedup"] = estimate_json(policy.speedup);
      entry["rounds"] = policy.rounds;
      entry["drafted"] = policy.drafted;
      entry["accepted"] = policy.accepted;
      entry["tokens"] = policy.tokens;
    }
    json["policies"].push_back(std::move(entry));
  }
  return json;
}

std::string to_text(const Simulation& simulation) {
  const cost::RowCosts& costs = *simulation.costs;
  std::string text = fmt::format(
      "{}: {}, {} tokens, drafts of at most {}; a draft token costs {:.3f} plain steps, verification of {} rows "
      "{:.2f}\n",
      simulation.arm, counted(simulation.prompts, "prompt"), simulation.tokens, simulation.depth,
      costs.draft(1) / costs.target(1), simulation.depth + 1, costs.target(simulation.depth + 1) / costs.target(1));
  util::Table table({"<policy", "length", "95%", "rounds", "drafted", "accepted", "speed-up", "95%", "of oracle"});
  const double oracle = simulation.policies.back().speedup.value.value_or(1);
  std::string left_out;
  for (const SimulatedPolicy& policy : simulation.policies) {
    if (!policy.unsupported.empty()) {
      left_out += fmt::format("not simulated: {}: {}\n", policy.name, policy.unsupported);
      continue;
    }
    table.add({policy.name, fmt::format("{:.3f}", policy.length.value.value_or(0)), interval_text(policy.length),
               std::to_string(policy.rounds), std::to_string(policy.drafted), std::to_string(policy.accepted),
               fmt::format("{:.3f}", policy.speedup.value.value_or(0)), interval_text(policy.speedup),
               fmt::format("{:.0f}%", 100 * policy.speedup.value.value_or(0) / oracle)});
  }
  text += table.to_string() + left_out;
  if (!simulation.policies.back().speedup.no_interval.empty())
    text += "no interval: " + simulation.policies.back().speedup.no_interval + "\n";
  return text;
}

}  // namespace foretell::analysis
