// Medusa (Cai et al. 2024, arXiv 2401.10774): heads on the target's last state, each for one of the next places.
//
// A head does not see what the heads before it chose: the tokens of a depth have one distribution, whatever their
// parents, and a tree multiplies them. So no draft model runs and nothing is cached, a level costs one product with the
// head, and acceptance falls quickly with depth. The tree is a tree policy (the paper's: `static` with ranks from
// calibration); tokens are the best of each head, as in the paper, or drawn, which keeps the target's distribution with
// any lossless verifier above temperature 0. The paper's own rule there is the verifier `typical`, which is lossy.
//
// Deviation: the root of the paper's tree is the target's own next token; here it is the last committed token, which is
// the same token one step later.
#include "framework/api/build_context.h"
#include "framework/core/error.h"
#include "framework/decoding/bases/head_source.h"
#include "framework/decoding/bases/level_drafter.h"

namespace foretell::drafters::heads {
namespace {

struct MedusaOptions {
  std::string head;
  int num_heads = 4, num_layers = 1;
  std::int64_t seed = 0;
  bases::ModelDraftOptions draft{.method = "top_k"};
  Location where = {};
  void declare(Parameters& p) {
    p.add("head", head, "folder or safetensors file of trained heads, or random: untrained ones, for tests",
          {.aliases = {"medusa_model", "speculative_model"}});
    p.add("num_heads", num_heads, "of random heads", {.min = 1, .max = 64, .aliases = {"medusa_num_heads"}});
    p.add("num_layers", num_layers, "residual blocks of a random head",
          {.min = 0, .max = 64, .aliases = {"medusa_num_layers"}});
    p.add("seed", seed, "of random heads");
    draft.declare(p);
    where = p.where();
  }
};

class MedusaDrafter final : public bases::LevelDrafter {
 public:
  using Options = MedusaOptions;
  MedusaDrafter(const Options& options, const BuildContext& context)
      : bases::LevelDrafter(options.draft, std::make_unique<bases::HeadSource>(heads_of(options, context)), context) {}

 private:
  static model::heads::MedusaHeads heads_of(const Options& options, const BuildContext& context) {
    using model::heads::MedusaHeads;
    if (options.head.empty())
      fail_at(options.where, "drafter 'medusa' needs heads: expected head: FOLDER, or head: random for untrained ones");
    if (!context.target || !context.target->parts())
      fail_at(options.where, "drafter 'medusa' reads the target's states and head: it needs a model as target");
    if (options.head == "random")
      return MedusaHeads::random(options.num_heads, options.num_layers, static_cast<std::uint64_t>(options.seed),
                                 context.target);
    // Asked for by its own name, the file is one of those that a run's manifest holds.
    const auto file = MedusaHeads::file_of(context.file(options.head));
    return MedusaHeads::load(context.file(file.string()), context.target);
  }
};

FORETELL_REGISTER(Drafter, MedusaDrafter, "medusa",
                  {.summary = "heads on the target's last state, one for each depth",
                   .paper = {"Cai et al.", 2024, "2401.10774"},
                   .also_known_as = {"Medusa-1"},
                   .taxonomy = {.focus = "model-centric",
                                .ryu2024 = "dependent draft model",
                                .xia2024 = "self-drafting: FFN heads"}});

}  // namespace
}  // namespace foretell::drafters::heads
