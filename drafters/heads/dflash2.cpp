// DFlash2 (z-lab, 2026): DFlash with short convolutions over a block's slots and a selector that chooses among the best
// candidates of each slot by the token before.
//
// The selector's distribution is over `selector_top_k` tokens and depends on the path; it is the one that is drawn
// from, and 0 elsewhere, which any lossless verifier takes as it is.
#include "framework/decoding/heads/block_drafter.h"

namespace foretell::drafters::heads {
namespace {

class DFlash2Drafter final : public decoding::heads::BlockDrafter {
 public:
  using Options = decoding::heads::BlockDrafterOptions;
  DFlash2Drafter(const Options& options, const BuildContext& context)
      : decoding::heads::BlockDrafter(options, context, decoding::heads::BlockKind::Selector) {}
};

FORETELL_REGISTER(Drafter, DFlash2Drafter, "dflash2",
                  {.summary = "DFlash with convolutions over the block and a selector that knows the token before",
                   .taxonomy = {.focus = "model-centric",
                                .ryu2024 = "dependent draft model",
                                .xia2024 = "self-drafting: FFN heads"}});

}  // namespace
}  // namespace foretell::drafters::heads
