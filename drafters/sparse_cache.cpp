// The target drafts for itself and looks at a part of its cache only (MagicDec, Chen et al. 2024, arXiv 2408.11049; the
// parts: StreamingLLM, Xiao et al. 2023, arXiv 2309.17453, and H2O, Zhang et al. 2023, arXiv 2306.14048).
//
// All weights are read for every drafted row, so a draft step is cheaper than decoding only where the cache is a large
// part of what a forward reads: long texts, many sequences at once. With W bytes of weights, B sequences and n and s
// rows of k bytes that full and sparse attention see, it costs (W + B s k) / (W + B n k) of a plain step.
//
// A policy that does not ask for weights works on the target's own cache: no second one, nothing to read at the start,
// and every committed row is the target's; what drafting appends is dropped before scoring. One that asks for them
// (H2O), and a tree that grows beyond what is scored, need a second cache of the text's length: its prompt is read with
// full attention once more, and rows of accepted drafts stay as sparse attention made them. Either way a policy saves
// reads of the cache, not its memory. Only a draft on a cache of its own can be taken back, as a cascade does.
//
// Deviation: MagicDec drafts on a small cache of a fixed size; here the rows that are seen are gathered out of the
// large one in every layer and step.
#include "framework/api/build_context.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/decoding/bases/model_drafter.h"

namespace foretell::drafters {
namespace {

struct SparseCacheOptions {
  ConfigValue attention = parse_yaml("{type: streaming}", "default");
  bases::DraftCacheOption cache;
  bases::ModelDraftOptions draft;
  void declare(Parameters& p) {
    p.add("attention", attention,
          "which rows of the cache a draft sees: {type: streaming, sinks: 4, window: 256}, {type: h2o}");
    cache.declare(p);
    draft.declare(p);
  }
};

class SparseCacheDrafter final : public bases::ModelDrafter {
 public:
  using Options = SparseCacheOptions;
  SparseCacheDrafter(const Options& options, const BuildContext& context)
      : bases::ModelDrafter(options.draft, target_of(options, context), context) {
    draft_for_itself(Registry<AttentionPolicy>::instance().make(options.attention, context), options.cache,
                     "sparse_cache");
  }

 private:
  static std::shared_ptr<const model::LanguageModel> target_of(const Options& options, const BuildContext& context) {
    if (!context.target)
      fail_at(options.cache.where,
              "drafter 'sparse_cache' drafts with the target's own weights: it needs a model as target, not a recorded "
              "answer");
    if (const int window = context.target->config().sliding_window; window > 0)
      fail_at(options.cache.where,
              "drafter 'sparse_cache': the target sees a sliding window of {} already: expected a model without one",
              counted(window, "token"));
    return context.target;
  }
};

FORETELL_REGISTER(Drafter, SparseCacheDrafter, "sparse_cache",
                  {.summary = "the target drafts with a part of its cache in sight (StreamingLLM, H2O)",
                   .paper = {"Chen et al.", 2024, "2408.11049"},
                   .also_known_as = {"MagicDec"},
                   .taxonomy = {
                       .focus = "model-centric", .ryu2024 = "dependent draft model", .xia2024 = "self-drafting"}});

}  // namespace
}  // namespace foretell::drafters
