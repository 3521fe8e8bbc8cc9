// Multi-token prediction (DeepSeek-AI 2024, arXiv 2412.19437): the layer that a model's checkpoint holds behind its
// last one, trained to predict one token further, drafts: once for every token of the draft, on its own states.
//
// `head` is the target's own folder, whose model.layers.{L}.* are read, or another folder with such a layer. Of several
// layers the first is used at every depth, as engines do that draft more tokens than there are layers.
#include "framework/decoding/heads/feature_source.h"
#include "framework/decoding/heads/head_options.h"
#include "framework/model/heads/prediction_head.h"

namespace foretell::drafters::heads {
namespace {

struct MtpOptions : decoding::heads::HeadOptions {
  void declare(Parameters& p) { HeadOptions::declare(p, {}); }
};

class MtpDrafter final : public bases::LevelDrafter {
 public:
  using Options = MtpOptions;
  MtpDrafter(const Options& options, const BuildContext& context)
      : bases::LevelDrafter(options.draft,
                            std::make_unique<decoding::heads::FeatureSource>(
                                decoding::heads::head_of<model::heads::PredictionHead>(options, context, "mtp")),
                            context) {}
};

FORETELL_REGISTER(Drafter, MtpDrafter, "mtp",
                  {.summary = "the prediction layer behind the target's last one",
                   .paper = {"DeepSeek-AI", 2024, "2412.19437"},
                   .also_known_as = {"NextN", "multi-token prediction"},
                   .taxonomy = {.focus = "model-centric",
                                .ryu2024 = "dependent draft model",
                                .xia2024 = "self-drafting: auto-regression head"}});

}  // namespace
}  // namespace foretell::drafters::heads
