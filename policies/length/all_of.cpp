// Several length policies at once: as much is drafted as every one of them allows.
//
// Each member plans from the drafter's limits, as it would alone; nodes, depth and width are the least that any of them
// gave. A draft goes on while all members would go on. All are asked at every step, also behind the first that says no,
// and all see the records of every round: what a round did, not what a member had asked for. So a member that learns
// from its own choices (a bandit) learns less the more often another one cuts them.
#include <algorithm>

#include "framework/api/policy.h"

namespace foretell::policies::length {
namespace {

struct AllOfOptions {
  ConfigValue policies = parse_yaml("[{type: fixed}, {type: confidence}]", "default");
  void declare(Parameters& p) {
    p.add("policies", policies, "a list of policies: [{type: goodput}, {type: confidence, threshold: 0.5}]");
  }
};

class AllOfPolicy final : public DraftPolicy {
 public:
  using Options = AllOfOptions;
  AllOfPolicy(const Options& options, const BuildContext& context) {
    if (!options.policies.is_list() || options.policies.items().empty())
      fail_at(options.policies.where(), "policies: expected a list of policies: [{{type: ...}}, {{type: ...}}]");
    for (const ConfigValue& item : options.policies.items())
      members_.push_back(Registry<DraftPolicy>::instance().make(item, context));
  }

  void plan(std::span<const PolicyView> batch, std::span<DraftBudget> budgets) override {
    const std::vector<DraftBudget> limits(budgets.begin(), budgets.end());
    std::vector<DraftBudget> own;
    for (std::size_t m = 0; m < members_.size(); ++m) {
      own = limits;
      members_[m]->plan(batch, own);
      for (std::size_t i = 0; i < budgets.size(); ++i) budgets[i] = m == 0 ? own[i] : least(budgets[i], own[i]);
    }
  }
  bool should_continue(const DraftStep& step) override {
    bool all = true;
    for (const auto& member : members_) all = member->should_continue(step) && all;
    return all;
  }
  bool wants_probs() const override {
    return std::any_of(members_.begin(), members_.end(), [](const auto& member) { return member->wants_probs(); });
  }
  bool wants_hidden_states() const override {
    return std::any_of(members_.begin(), members_.end(),
                       [](const auto& member) { return member->wants_hidden_states(); });
  }
  void observe(std::span<const RoundRecord> records) override {
    for (const auto& member : members_) member->observe(records);
  }

 private:
  static DraftBudget least(const DraftBudget& a, const DraftBudget& b) {
    return {std::min(a.nodes, b.nodes), std::min(a.depth, b.depth), std::min(a.width, b.width)};
  }

  std::vector<std::unique_ptr<DraftPolicy>> members_;
};

FORETELL_REGISTER(DraftPolicy, AllOfPolicy, "all_of", {.summary = "as much as every one of several policies allows"});

}  // namespace
}  // namespace foretell::policies::length
