// A draft model: a smaller checkpoint with the target's vocabulary (Leviathan et al. 2022, arXiv 2211.17192; Chen et
// al. 2023, arXiv 2302.01318).
#include "framework/api/build_context.h"
#include "framework/decoding/bases/model_drafter.h"

namespace foretell::drafters {
namespace {

struct DraftModelOptions {
  std::string model;
  bases::ModelDraftOptions draft;
  void declare(Parameters& p) {
    p.add("model", model, "folder of the draft checkpoint; empty: the study's model.draft",
          {.aliases = {"draft_model", "assistant_model"}});
    draft.declare(p);
  }
};

class DraftModel final : public bases::ModelDrafter {
 public:
  using Options = DraftModelOptions;
  DraftModel(const Options& options, const BuildContext& context)
      : bases::ModelDrafter(options.draft, bases::load_draft(options.model, context, "model"), context) {}
};

FORETELL_REGISTER(Drafter, DraftModel, "model",
                  {.summary = "a smaller model drafts a chain or a tree",
                   .paper = {"Leviathan et al.", 2022, "2211.17192"},
                   .also_known_as = {"SpS", "speculative sampling", "draft_model", "assisted generation"},
                   .taxonomy = {.focus = "model-centric",
                                .ryu2024 = "independent draft model",
                                .xia2024 = "independent drafting: small LM"}});

}  // namespace
}  // namespace foretell::drafters
