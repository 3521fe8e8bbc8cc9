// DFlash (z-lab, 2026): a few layers that draft a block at once, as a diffusion model of one step would: masks that see
// each other and keys and values made of the target's hidden states of the text.
//
// The slots of a block do not know each other's tokens: a level has one distribution, as with Medusa's heads, and above
// temperature 0 a token is drawn from it and verified against it, so any lossless verifier applies. `ddtree` takes the
// most probable prefixes of a block.
#include "framework/decoding/heads/block_drafter.h"

namespace foretell::drafters::heads {
namespace {

class DFlashDrafter final : public decoding::heads::BlockDrafter {
 public:
  using Options = decoding::heads::BlockDrafterOptions;
  DFlashDrafter(const Options& options, const BuildContext& context)
      : decoding::heads::BlockDrafter(options, context, decoding::heads::BlockKind::Plain) {}
};

FORETELL_REGISTER(Drafter, DFlashDrafter, "dflash",
                  {.summary = "masks that read the target's hidden states: a block in one forward",
                   .taxonomy = {.focus = "model-centric",
                                .ryu2024 = "dependent draft model",
                                .xia2024 = "self-drafting: FFN heads"}});

}  // namespace
}  // namespace foretell::drafters::heads
