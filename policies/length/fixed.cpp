// The same budget every round: the drafter's own limits, or less.
#include "framework/api/policy.h"

namespace foretell::policies::length {
namespace {

struct FixedOptions {
  std::optional<int> num_speculative_tokens;
  void declare(Parameters& p) {
    p.add("num_speculative_tokens", num_speculative_tokens,
          "depth of every draft; none: what the drafter is configured for", {.min = 0});
  }
};

class FixedPolicy final : public DraftPolicy {
 public:
  using Options = FixedOptions;
  FixedPolicy(const Options& options, const BuildContext&) : options_(options) {}
  void plan(std::span<const PolicyView>, std::span<DraftBudget> budgets) override {
    if (options_.num_speculative_tokens)
      for (DraftBudget& budget : budgets) budget.depth = *options_.num_speculative_tokens;
  }

 private:
  Options options_;
};

FORETELL_REGISTER(DraftPolicy, FixedPolicy, "fixed",
                  {.summary = "the same draft budget every round", .paper = {"Leviathan et al.", 2022, "2211.17192"}});

}  // namespace
}  // namespace foretell::policies::length
