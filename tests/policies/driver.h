// A length policy in a loop without models: the test says what is accepted, and time is what a table of costs says.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "framework/api/build_context.h"
#include "framework/api/policy.h"
#include "framework/cost/row_costs.h"
#include "tests/support/rooms.h"

namespace foretell::testing {

std::unique_ptr<DraftPolicy> make_policy(const std::string& yaml, std::shared_ptr<const RowCosts> costs = {});
std::unique_ptr<TreePolicy> make_tree(const std::string& yaml, std::shared_ptr<const RowCosts> costs = {});

// A round of a chain: `accepted` of `drafted` tokens, then the target's own.
RoundRecord chain_round(int drafted, int accepted);

class PolicyDriver {
 public:
  PolicyDriver(DraftPolicy& policy, int limit, int batch = 1, int prompt = 8, int tokens = 1 << 20);
  // Depths that the policy allows in this round.
  std::vector<int> plan();
  int plan_one() { return plan().front(); }
  // What became of it.
  void observe(const std::vector<RoundRecord>& records);
  void observe(const RoundRecord& record) { observe(std::vector<RoundRecord>{record}); }
  int committed(int sequence) const { return views_[static_cast<std::size_t>(sequence)].committed; }
  int remaining(int sequence) const { return views_[static_cast<std::size_t>(sequence)].remaining; }

 private:
  DraftPolicy& policy_;
  int limit_;
  std::vector<PolicyView> views_;
};

}  // namespace foretell::testing
