#include "tests/policies/driver.h"
#include "tests/support/rooms.h"

namespace foretell::testing {
namespace {

BuildContext driver_context(std::shared_ptr<const RowCosts> costs) {
  BuildContext context;
  context.vocab = 11;
  context.draft_model = "draft";
  context.row_costs = [costs] { return costs; };
  return context;
}

}  // namespace

std::unique_ptr<DraftPolicy> make_policy(const std::string& yaml, std::shared_ptr<const RowCosts> costs) {
  return Registry<DraftPolicy>::instance().make(parse_yaml(yaml, "policy.yaml"), driver_context(std::move(costs)));
}

std::unique_ptr<TreePolicy> make_tree(const std::string& yaml, std::shared_ptr<const RowCosts> costs) {
  return Registry<TreePolicy>::instance().make(parse_yaml(yaml, "tree.yaml"), driver_context(std::move(costs)));
}

RoundRecord chain_round(int drafted, int accepted) {
  return {.drafted = drafted,
          .scored = drafted + 1,
          .depth = drafted,
          .accepted = accepted,
          .emitted = accepted + 1,
          .kind = accepted < drafted ? NextKind::Correction : NextKind::Bonus};
}

PolicyDriver::PolicyDriver(DraftPolicy& policy, int limit, int batch, int prompt, int tokens)
    : policy_(policy), limit_(limit) {
  for (int i = 0; i < batch; ++i) views_.push_back({i, static_cast<std::uint64_t>(i), prompt, 0, tokens, batch});
}

std::vector<int> PolicyDriver::plan() {
  std::vector<DraftBudget> budgets(views_.size(), DraftBudget{limit_, limit_, 1});
  policy_.plan(views_, budgets);
  std::vector<int> depths;
  for (const DraftBudget& budget : budgets) depths.push_back(std::max(0, std::min(budget.depth, limit_)));
  return depths;
}

void PolicyDriver::observe(const std::vector<RoundRecord>& records) {
  policy_.observe(records);
  for (std::size_t i = 0; i < records.size(); ++i) {
    views_[i].committed += records[i].emitted;
    views_[i].generated += records[i].emitted;
    views_[i].remaining -= records[i].emitted;
  }
}

}  // namespace foretell::testing
