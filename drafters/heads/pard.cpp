// PARD (An et al. 2025, arXiv 2504.18583): a draft model that drafts all its tokens in one forward. Behind the text it
// reads a mask token for each further place, and it was trained to answer these.
//
// The tokens of a depth have one distribution, whatever their parents: one forward in place of K, for tokens that do
// not know of each other. Any tree policy takes these distributions; `ddtree` is made for them. The draft model is an
// ordinary checkpoint whose config.json names its mask (`pard_token`); one serves all targets with its vocabulary.
#include "framework/decoding/heads/mask_drafter.h"

namespace foretell::drafters::heads {
namespace {

class PardDrafter final : public decoding::heads::MaskDrafter {
 public:
  using Options = decoding::heads::MaskDrafterOptions;
  PardDrafter(const Options& options, const BuildContext& context)
      : decoding::heads::MaskDrafter(options, context, false) {}
};

FORETELL_REGISTER(Drafter, PardDrafter, "pard",
                  {.summary = "a draft model with mask tokens: all tokens of a draft in one forward",
                   .paper = {"An et al.", 2025, "2504.18583"},
                   .taxonomy = {.focus = "model-centric",
                                .ryu2024 = "independent draft model",
                                .xia2024 = "independent drafting: small LM"}});

}  // namespace
}  // namespace foretell::drafters::heads
