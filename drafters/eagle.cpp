// EAGLE (Li et al. 2024, arXiv 2401.15077): a decoder layer that drafts the target's states, and the target's head that
// makes tokens of them.
//
// The layer reads the target's last state and the token that was chosen behind it, so unlike Medusa's heads it knows
// its own path. With the tree policy `eagle2` and tokens chosen (`draft_sample_method: top_k`) it is EAGLE-2 (Li et al.
// 2024, arXiv 2406.16858), with the same weights; HASS trains other weights of the same shape. As in the first paper
// children are drawn without replacement above temperature 0, and the paper's static tree is the policy `static`.
#include "framework/api/build_context.h"
#include "framework/core/error.h"
#include "framework/decoding/bases/level_drafter.h"
#include "framework/decoding/heads/feature_source.h"

namespace foretell::drafters {
namespace {

struct EagleOptions {
  std::string head;
  std::int64_t seed = 0;
  bases::ModelDraftOptions draft;
  Location where = {};
  void declare(Parameters& p) {
    p.add("head", head, "folder of a trained head, or random: an untrained one, for tests",
          {.aliases = {"ea_model", "speculative_model"}});
    p.add("seed", seed, "of a random head");
    draft.declare(p);
    where = p.where();
  }
};

class EagleDrafter final : public bases::LevelDrafter {
 public:
  using Options = EagleOptions;
  EagleDrafter(const Options& options, const BuildContext& context)
      : bases::LevelDrafter(options.draft, std::make_unique<decoding::heads::FeatureSource>(head_of(options, context)),
                            context) {}

 private:
  static model::heads::EagleHead head_of(const Options& options, const BuildContext& context) {
    using model::heads::EagleHead;
    if (options.head.empty())
      fail_at(options.where,
              "drafter 'eagle' needs a head: expected head: FOLDER, or head: random for an untrained one");
    if (!context.target || !context.target->parts())
      fail_at(options.where, "drafter 'eagle' reads the target's states and head: it needs a model as target");
    if (options.head == "random") return EagleHead::random(static_cast<std::uint64_t>(options.seed), context.target);
    const std::filesystem::path folder = context.file(options.head);
    context.file(EagleHead::file_of(folder).string());  // one of the files that a run's manifest holds
    return EagleHead::load(folder, context.target);
  }
};

FORETELL_REGISTER(Drafter, EagleDrafter, "eagle",
                  {.summary = "a decoder layer that drafts the target's states",
                   .paper = {"Li et al.", 2024, "2401.15077"},
                   .also_known_as = {"EAGLE-1", "HASS"},
                   .taxonomy = {.focus = "model-centric",
                                .ryu2024 = "dependent draft model",
                                .xia2024 = "self-drafting: auto-regression head"}});

}  // namespace
}  // namespace foretell::drafters
