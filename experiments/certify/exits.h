// Whether an exit policy keeps its word that a row's exit depends on that row alone, which every verifier counts on.
//
// Contract: a small random transformer decodes under the policy and each rule for skipped layers, alone and in a batch
// of three, drafted and not, and has to say the same tokens. A policy that says that its rows depend on one another is
// lossy if that shows.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "experiments/certify/rule_rows.h"
#include "framework/api/exit_policy.h"

namespace foretell::certify {

struct ExitPolicyRow : RuleRow {
  long asked = 0, left = 0;  // rows at a layer, and those of them that left there
};

// A name, "all", or a description ("{type: margin, threshold: 0.1}"). Built-in ones that are named are given thresholds
// at which rows of a random model leave. An Error for a name that nobody registered.
std::vector<ExitPolicyRow> certify_exits(const std::string& exit);

ExitPolicyRow certify_exit(const std::string& name,
                           const std::function<std::shared_ptr<ExitPolicy>(const BuildContext&)>& make);

}  // namespace foretell::certify
