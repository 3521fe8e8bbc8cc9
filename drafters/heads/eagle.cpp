// EAGLE (Li et al. 2024, arXiv 2401.15077): a decoder layer that drafts the target's states, and the target's head that
// makes tokens of them.
//
// The layer reads the target's last state and the token that was chosen behind it, so unlike Medusa's heads it knows
// its own path. EAGLE-2 (Li et al. 2024, arXiv 2406.16858) is the same layer with the tree policy `eagle2` and tokens
// chosen (`draft_sample_method: top_k`); HASS trains other weights of the same shape. As in the first paper children
// are drawn without replacement above temperature 0, and the paper's static tree is the policy `static`.
#include "framework/decoding/heads/feature_source.h"
#include "framework/decoding/heads/head_options.h"
#include "framework/model/heads/eagle_head.h"

namespace foretell::drafters::heads {
namespace {

struct EagleOptions : decoding::heads::HeadOptions {
  void declare(Parameters& p) { HeadOptions::declare(p, {"ea_model"}); }
};

class EagleDrafter : public bases::LevelDrafter {
 public:
  using Options = EagleOptions;
  EagleDrafter(const Options& options, const BuildContext& context)
      : EagleDrafter(options, options.draft, context, "eagle") {}

 protected:
  EagleDrafter(const Options& options, bases::ModelDraftOptions draft, const BuildContext& context, const char* name)
      : bases::LevelDrafter(std::move(draft),
                            std::make_unique<decoding::heads::FeatureSource>(
                                decoding::heads::head_of<model::heads::EagleHead>(options, context, name)),
                            context) {}
};

FORETELL_REGISTER(Drafter, EagleDrafter, "eagle",
                  {.summary = "a decoder layer that drafts the target's states",
                   .paper = {"Li et al.", 2024, "2401.15077"},
                   .also_known_as = {"EAGLE-1", "HASS"},
                   .taxonomy = {.focus = "model-centric",
                                .ryu2024 = "dependent draft model",
                                .xia2024 = "self-drafting: auto-regression head"}});

// `eagle` with tokens chosen, in the tree of the second paper where neither it nor the pipeline names another.
struct Eagle2Options : EagleOptions {
  Eagle2Options() { draft.method = "top_k"; }
};

class Eagle2Drafter final : public EagleDrafter {
 public:
  using Options = Eagle2Options;
  Eagle2Drafter(const Options& options, const BuildContext& context)
      : EagleDrafter(options,
                     decoding::heads::with_tree(options.draft, context, parse_yaml("{type: eagle2}", "default")),
                     context, "eagle2") {}
};

FORETELL_REGISTER(Drafter, Eagle2Drafter, "eagle2",
                  {.summary = "EAGLE's layer with the most probable tokens in a dynamic tree",
                   .paper = {"Li et al.", 2024, "2406.16858"},
                   .also_known_as = {"EAGLE-2"},
                   .taxonomy = {.focus = "model-centric",
                                .ryu2024 = "dependent draft model",
                                .xia2024 = "self-drafting: auto-regression head"},
                   .preset_of = "eagle"});

}  // namespace
}  // namespace foretell::drafters::heads
