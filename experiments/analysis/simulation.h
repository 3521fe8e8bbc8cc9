// Every length policy over a recorded run that knows the accept length of every position: what `foretell simulate`
// prints.
//
// Contract: a policy is the registered object, called by the decoding loop itself (framework/decoding/decoder.h) with a
// recorded answer as the target and a drafter whose draft at position i has as many right tokens as were recorded
// there. Times are those of the costs, never of a clock. Prompts come in their order, one sequence at once, to one
// policy object. Such a run has no distributions of the draft: a policy that asks for them (or for hidden states) is
// named, with the reason, and not simulated. Nothing deeper than the longest recorded draft can be simulated.
//
// The oracle knows the recording: of all ways to choose lengths it has the one of least time, found from the end of
// each answer. No policy is faster.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/core/config_value.h"
#include "framework/cost/operators/speculation.h"
#include "framework/cost/row_costs.h"
#include "framework/datasets/accept_runs.h"
#include "framework/metrics/statistics.h"

namespace foretell::analysis {

// What a round takes, where a draft token takes `ratio` plain steps and verification one, whatever its rows.
std::shared_ptr<const cost::RowCosts> ratio_costs(double ratio);
// By roofline: a pass of each of up to `depth` draft tokens, and verification of their rows. The source is a lookup, a
// model or a drafting layer: the others' drafts do not cost the same for each token.
std::shared_ptr<const cost::RowCosts> roofline_costs(const formats::ModelConfig& target,
                                                     const cost::operators::Hardware& hardware,
                                                     const cost::operators::DraftSource& source,
                                                     cost::operators::SpeculationCase of, int depth);

// All arms that any run has, and the longest draft of an arm that was accepted whole.
std::vector<std::string> arms_of(const std::vector<datasets::AcceptRun>& runs);
int longest_draft(const std::vector<datasets::AcceptRun>& runs, const std::string& arm);

struct SimulatedPolicy {
  std::string name;               // as a study has it: {type: fixed, num_speculative_tokens: 4}
  metrics::Estimate length = {};  // [tokens / round], over prompts
  metrics::Estimate speedup = {};
  std::int64_t rounds = 0, drafted = 0, accepted = 0, tokens = 0;
  std::string unsupported = {};  // why it was not simulated; empty: it was
};

struct Simulation {
  std::string arm;
  int prompts = 0, depth = 0;
  std::int64_t tokens = 0;
  std::shared_ptr<const cost::RowCosts> costs;
  std::vector<SimulatedPolicy> policies;  // the oracle is the last one
};

struct PolicyChoice {
  ConfigValue description;
  bool needed = true;  // false: where it cannot be made, such as for want of a file, that is said in its row
};
// Fixed lengths, then every registered policy with its defaults.
std::vector<PolicyChoice> all_length_policies(const std::vector<int>& fixed);

Simulation simulate(const std::vector<datasets::AcceptRun>& runs, const std::string& arm, int depth,
                    std::shared_ptr<const cost::RowCosts> costs, const std::vector<PolicyChoice>& policies);

// How often a drafter that needs nothing but tokens has the recorded length.
struct LookupAgreement {
  std::int64_t positions = 0, equal = 0;
  int prompts = 0, equal_prompts = 0;
  int other_generations = 0;  // prompts whose arm has another number of positions than tokens were generated
  double share() const { return positions > 0 ? static_cast<double>(equal) / static_cast<double>(positions) : 0; }
};
LookupAgreement lookup_agreement(const std::vector<datasets::AcceptRun>& runs, const std::string& arm,
                                 const ConfigValue& drafter);

nlohmann::ordered_json to_json(const Simulation& simulation);
std::string to_text(const Simulation& simulation);

}  // namespace foretell::analysis
