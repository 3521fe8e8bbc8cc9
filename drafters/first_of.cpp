// Drafters in the order of their price: the first one that has something to say drafts, the later ones are not asked.
//
// With `min_expected` a draft of chosen tokens has to be worth that many accepted ones by its drafter's own estimate
// (by its depth where there is none). What a drafter has drawn is never passed over: to drop a draft for its tokens
// would change the distribution.
#include <algorithm>

#include "framework/decoding/bases/composite_drafter.h"

namespace foretell::drafters {
namespace {

struct FirstOfOptions {
  ConfigValue drafters;
  double min_expected = 0;
  void declare(Parameters& p) {
    p.add("drafters", drafters,
          "a list of two drafters or more, the preferred one first: [{type: prompt_lookup}, {type: model}]",
          {.required = true});
    p.add("min_expected", min_expected,
          "accepted tokens that a copied draft has to promise; its depth counts where it promises nothing", {.min = 0});
  }
};

class FirstOfDrafter final : public bases::CompositeDrafter {
 public:
  using Options = FirstOfOptions;
  FirstOfDrafter(const Options& options, const BuildContext& context)
      : bases::CompositeDrafter(options.drafters, "drafters", context), min_expected_(options.min_expected) {}

  DraftBudget limits() const override {
    DraftBudget all{0, 0, 0};
    for (const auto& member : members()) {
      const DraftBudget own = member->limits();
      all = {std::max(all.nodes, own.nodes), std::max(all.depth, own.depth), std::max(all.width, own.width)};
    }
    return all;
  }
  DraftForm form() const override { return member_forms(); }
  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override {
    const std::size_t last = members().size() - 1;
    return draft_in_turn(batch, [&](std::size_t member, const DraftTree& draft) {
      return member == last || draft.expectation().value_or(draft.depth()) >= min_expected_;
    });
  }

 private:
  double min_expected_;
};

FORETELL_REGISTER(Drafter, FirstOfDrafter, "first_of", {.summary = "the first of several drafters that has a draft"});

}  // namespace
}  // namespace foretell::drafters
