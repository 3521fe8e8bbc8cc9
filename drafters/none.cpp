// No draft: plain autoregressive decoding through the same loop, timers and counts. The baseline of every comparison.
#include "framework/api/drafter.h"

namespace foretell::drafters {
namespace {

class NoDrafter final : public Drafter {
 public:
  using Options = NoOptions;
  NoDrafter(const Options&, const BuildContext&) {}
  DraftBudget limits() const override { return {0, 0, 0}; }
  DraftForm form() const override { return {}; }
  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override {
    std::vector<DraftTree> drafts;
    for (const DraftContext& context : batch) drafts.emplace_back(context.committed.back());
    return drafts;
  }
};

FORETELL_REGISTER(Drafter, NoDrafter, "none",
                  {.summary = "drafts nothing: plain autoregressive decoding, the baseline",
                   .also_known_as = {"autoregressive", "vanilla"}});

}  // namespace
}  // namespace foretell::drafters
