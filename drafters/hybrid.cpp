// A copying drafter where it is sure of itself, a model elsewhere (Oliaro et al. 2024, arXiv 2411.04975; Hu et al.
// 2024, arXiv 2411.10666).
//
// Each round the copying drafter drafts first. If it expects at least `threshold` of its tokens to be accepted, its
// draft is used; else the model drafts. The published rule of thumb for the threshold is what the model would draft,
// which is the default. Tokens of the copying drafter are chosen, never drawn, so which draft is used depends on
// committed text alone.
#include <algorithm>

#include "framework/core/error.h"
#include "framework/decoding/bases/composite_drafter.h"

namespace foretell::drafters {
namespace {

struct HybridOptions {
  ConfigValue copying = parse_yaml("{type: suffix_decoding}", "default"),
              model = parse_yaml("{type: model}", "default");
  std::optional<double> threshold;
  void declare(Parameters& p) {
    p.add("copying", copying, "the drafter that is asked first: one that chooses its tokens",
          {.aliases = {"first", "suffix"}});
    p.add("model", model, "the drafter for the other rounds", {.aliases = {"second", "fallback"}});
    p.add("threshold", threshold,
          "accepted tokens that the first draft has to promise; none: the depth of the second's drafts",
          {.min = 0, .aliases = {"len_threshold", "suffix_threshold"}});
  }
};

std::vector<std::unique_ptr<Drafter>> hybrid_members(const HybridOptions& options, const BuildContext& context) {
  std::vector<std::unique_ptr<Drafter>> members;
  for (const ConfigValue* part : {&options.copying, &options.model})
    members.push_back(bases::make_member(*part, context));
  return members;
}

class HybridDrafter final : public bases::CompositeDrafter {
 public:
  using Options = HybridOptions;
  HybridDrafter(const Options& options, const BuildContext& context)
      : bases::CompositeDrafter(hybrid_members(options, context)) {
    const DraftForm first = member(0).form();
    if (first.independent || first.without_replacement)
      fail_at(options.copying.where(), "hybrid: the first drafter draws its tokens: expected one that chooses them");
    threshold_ = options.threshold.value_or(member(1).limits().depth);
  }

  DraftBudget limits() const override {
    const DraftBudget a = member(0).limits(), b = member(1).limits();
    return {std::max(a.nodes, b.nodes), std::max(a.depth, b.depth), std::max(a.width, b.width)};
  }
  DraftForm form() const override { return member_forms(); }
  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override {
    return draft_in_turn(batch, [&](std::size_t member, const DraftTree& draft) {
      return member == 1 || draft.expectation().value_or(draft.depth()) >= threshold_;
    });
  }

 private:
  double threshold_;
};

FORETELL_REGISTER(Drafter, HybridDrafter, "hybrid",
                  {.summary = "a copying drafter where it is sure, a model elsewhere",
                   .stateful = true,
                   .paper = {"Oliaro et al.", 2024, "2411.04975"}});

}  // namespace
}  // namespace foretell::drafters
