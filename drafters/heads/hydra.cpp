// Hydra (Ankner et al. 2024, arXiv 2402.05109): Medusa's heads that also read the tokens that were chosen before them.
//
// So the distribution of a node depends on its path, a tree is worth more than a product of the heads' best tokens, and
// every node that is looked at further costs a row of a head. Hydra++ reads the text through a decoder layer of its own
// first; its head files have it. Tokens are the best of each head, as in the paper, or drawn, which keeps the target's
// distribution with any lossless verifier above temperature 0; the paper's tree is the policy `static`.
//
// Deviation: the root of the paper's tree is the target's own next token; here it is the last committed token, which is
// the same token one step later.
#include "framework/decoding/heads/head_options.h"
#include "framework/decoding/heads/path_source.h"
#include "framework/model/heads/hydra_heads.h"

namespace foretell::drafters::heads {
namespace {

using model::heads::HydraHeads;

struct HydraOptions : decoding::heads::HeadOptions {
  model::heads::HydraShape random;
  HydraOptions() { draft.method = "top_k"; }
  void declare(Parameters& p) {
    HeadOptions::declare(p, {"hydra_model"});
    p.add("num_heads", random.heads, "of random heads", {.min = 1, .max = 64, .aliases = {"hydra_num_heads"}});
    p.add("num_layers", random.blocks, "blocks of a random head",
          {.min = 1, .max = 64, .aliases = {"hydra_num_layers"}});
    p.add("prefix", random.prefix, "whether random heads read the text through a layer of their own (Hydra++)");
  }
};

class HydraDrafter final : public bases::LevelDrafter {
 public:
  using Options = HydraOptions;
  HydraDrafter(const Options& options, const BuildContext& context)
      : bases::LevelDrafter(options.draft, std::make_unique<decoding::heads::PathSource>(heads_of(options, context)),
                            context) {}

 private:
  static std::shared_ptr<const HydraHeads> heads_of(const Options& options, const BuildContext& context) {
    return decoding::heads::head_of<HydraHeads>(options, context, "hydra", [&](std::uint64_t seed, auto target) {
      return HydraHeads::random(options.random, seed, std::move(target));
    });
  }
};

FORETELL_REGISTER(Drafter, HydraDrafter, "hydra",
                  {.summary = "heads on the target's last state that see the tokens chosen before them",
                   .paper = {"Ankner et al.", 2024, "2402.05109"},
                   .also_known_as = {"Hydra++"},
                   .taxonomy = {.focus = "model-centric",
                                .ryu2024 = "dependent draft model",
                                .xia2024 = "self-drafting: FFN heads"}});

}  // namespace
}  // namespace foretell::drafters::heads
