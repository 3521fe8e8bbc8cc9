// PARD-2 (AMD, 2026): PARD's draft model, whose embeddings get a projection of the target's hidden states added, so
// that it knows which target it drafts for. A row reads the states of the position before it, all masks those of the
// last token's; without the projection the same weights are a PARD draft of any target.
//
// The rule is that of the released code (spd_type, pard2_* in config.json, target_proj.weight in
// pard_warp_model.safetensors).
#include "framework/decoding/heads/mask_drafter.h"

namespace foretell::drafters::heads {
namespace {

class Pard2Drafter final : public decoding::heads::MaskDrafter {
 public:
  using Options = decoding::heads::MaskDrafterOptions;
  Pard2Drafter(const Options& options, const BuildContext& context)
      : decoding::heads::MaskDrafter(options, context, true) {}
};

FORETELL_REGISTER(Drafter, Pard2Drafter, "pard2",
                  {.summary = "PARD with the target's hidden states added to the draft model's embeddings",
                   .also_known_as = {"PARD-2"},
                   .taxonomy = {.focus = "model-centric",
                                .ryu2024 = "dependent draft model",
                                .xia2024 = "self-drafting: auto-regression head"}});

}  // namespace
}  // namespace foretell::drafters::heads
