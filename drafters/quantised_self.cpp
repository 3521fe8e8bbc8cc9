// The target drafts for itself with weights of 8 bits (QuantSpec, Tiwari et al. 2025, arXiv 2502.10424, which takes 4
// bits and quantises the cache, too).
//
// The copy has one scale for each output of a matrix and shares all else with the target, so there is no second
// checkpoint. Reading half of the weights a draft step costs a little more than half of a plain step: with acceptance a
// and n drafted tokens a round emits (1 - a^(n+1)) / (1 - a) tokens for n/2 steps and one scoring, so it pays where
// acceptance is high and rows are cheap to score.
//
// A draft works on the target's own cache: no second one, nothing to read at the start, and every committed row is the
// target's; what drafting appends is dropped before scoring. A tree that grows beyond what is scored has a cache of its
// own. Contract: needs a model as target, on the CPU.
#include "framework/api/build_context.h"
#include "framework/core/error.h"
#include "framework/decoding/bases/model_drafter.h"

namespace foretell::drafters {
namespace {

struct QuantisedSelfOptions {
  bases::DraftCacheOption cache;
  bases::ModelDraftOptions draft;
  void declare(Parameters& p) {
    cache.declare(p);
    draft.declare(p);
  }
};

class QuantisedSelfDrafter final : public bases::ModelDrafter {
 public:
  using Options = QuantisedSelfOptions;
  QuantisedSelfDrafter(const Options& options, const BuildContext& context)
      : bases::ModelDrafter(options.draft, copy_of(options, context), context) {
    draft_for_itself(nullptr, options.cache, "quantised_self");
  }

 private:
  static std::shared_ptr<const model::LanguageModel> copy_of(const Options& options, const BuildContext& context) {
    if (!context.target)
      fail_at(options.cache.where,
              "drafter 'quantised_self' drafts with the target's own weights: it needs a model as target, not a "
              "recorded answer");
    auto copy = context.target->quantised();
    if (!copy)
      fail_at(options.cache.where,
              "drafter 'quantised_self': this target has no form with weights of 8 bits: expected a model on the CPU");
    return copy;
  }
};

FORETELL_REGISTER(Drafter, QuantisedSelfDrafter, "quantised_self",
                  {.summary = "the target drafts with its own weights rounded to 8 bits",
                   .paper = {"Tiwari et al.", 2025, "2502.10424"},
                   .also_known_as = {"QuantSpec"},
                   .taxonomy = {
                       .focus = "model-centric", .ryu2024 = "dependent draft model", .xia2024 = "self-drafting"}});

}  // namespace
}  // namespace foretell::drafters
