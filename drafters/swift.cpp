// The target drafts for itself without some sublayers, and finds out while it decodes which ones it needs least (SWIFT,
// Xia et al. 2024, arXiv 2410.06916). A set is scored by one forward pass over the first window + 1 tokens of the
// answer, behind the prompt's keys and values as the whole model has them: the share of tokens that the draft would
// have said. One set is scored for each round until the search ends; the best so far drafts.
//
// The first window + 1 tokens of an answer, not the newest ones, as the released code has it. Until an answer is that
// long an evenly spread set drafts. One search serves all sequences of a run. Defaults are the code's: window 32, no
// more once a score is above 0.95, after 300 sets without a better one or after 1000. Its other rules are a pipeline's:
// drafts end at an unlikely token with the policy `confidence`, trees are a tree policy's.
//
// Costs, while it searches, one forward pass of the window in each round, and for the first sequence that is scored a
// second pass over its prompt with a KV cache of its own. Deviation: the paper drafts with its own KV cache, thrown
// away after a draft; here a draft is on the target's.
#include <ATen/core/Tensor.h>

#include <map>

#include "framework/api/build_context.h"
#include "framework/core/error.h"
#include "framework/decoding/bases/self_drafter.h"
#include "framework/exits/layer_search.h"

namespace foretell::drafters {
namespace {

struct SwiftOptions {
  int window = 32;
  exits::LayerSearchOptions search;
  std::string method = "bayesian";
  std::int64_t seed = 1;
  bases::DraftCacheOption cache;
  bases::ModelDraftOptions draft;
  void declare(Parameters& p) {
    p.add("skip_ratio", search.ratio, "share of the inner layers' sublayers that are left out",
          {.min = 0.0, .max = 1.0});
    p.add("context_window", window, "tokens of an answer that a set is scored on", {.min = 1, .max = 4096});
    p.add("search", method, "random sets; with a Gaussian process among them; or changes of the best set",
          {.choices = {"random", "bayesian", "evolution"}});
    p.add("bayes_interval", search.model_every, "under bayesian: every so many sets are the Gaussian process's",
          {.min = 1, .max = 1 << 20});
    p.add("max_score", search.enough, "the search ends above this share", {.min = 0.0, .max = 1.0});
    p.add("max_tolerance_iter", search.patience, "sets without a better one before the search ends",
          {.min = 0, .max = 1 << 20});
    p.add("max_opt_iter", search.most, "sets before the search ends; 0: the first set drafts, nothing is searched for",
          {.min = 0, .max = 1 << 20});
    p.add("seed", seed, "of the sets that are tried", {.min = 0});
    cache.declare(p);
    draft.declare(p);
  }
  exits::LayerSearchOptions searched() const {
    exits::LayerSearchOptions out = search;
    out.seed = static_cast<std::uint64_t>(seed);
    out.evolution = method == "evolution";
    if (method != "bayesian") out.model_every = 0;
    return out;
  }
};

class SwiftDrafter final : public bases::SelfDrafter {
 public:
  using Options = SwiftOptions;
  SwiftDrafter(const Options& options, const BuildContext& context)
      : bases::SelfDrafter(plain(options), context, "swift"),
        window_(options.window),
        search_(context.target->config().num_layers, options.searched()),
        searches_(options.search.most > 0),
        target_(context.target) {
    use_without(search_.best());
  }

  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override {
    for (const DraftContext& context : batch)
      if (searches_ && !search_.finished() && std::ssize(context.generated()) > window_) {
        try_set(context);
        break;
      }
    return bases::SelfDrafter::draft(batch);
  }
  void end(SlotId slot) override {
    scored_.erase(slot);
    bases::SelfDrafter::end(slot);
  }
  // A sequence that takes the slot of one that was not ended.
  void begin(SlotId slot, const PromptView& prompt) override {
    scored_.erase(slot);
    bases::SelfDrafter::begin(slot, prompt);
  }

 private:
  static bases::SelfDraftOptions plain(const Options& options) {
    return {.rules = {.where = options.cache.where}, .cache = options.cache, .draft = options.draft};
  }

  // One set, on the beginning of this answer.
  void try_set(const DraftContext& context) {
    std::unique_ptr<model::KvCache>& cache = scored_[context.slot];
    const TokenSpan prompt = context.request.prompt;
    const auto prompted = static_cast<int>(prompt.size());
    if (!cache) {
      cache = target_->make_cache(prompted + window_ + 1);
      target_->forward({prompt, model::ChainShape{}, cache.get(), model::LogitRows::None});
    }
    cache->truncate(prompted);
    const TokenSpan answer = context.generated().first(static_cast<std::size_t>(window_) + 1);
    model::ForwardOptions options;
    options.computed = without(search_.next());
    const model::ForwardResult result = target_->forward(
        {answer.first(static_cast<std::size_t>(window_)), model::ChainShape{}, cache.get(), model::LogitRows::All},
        options);
    const at::Tensor said = result.logits.argmax(-1).to(at::kCPU);
    int matched = 0;
    for (int i = 0; i < window_; ++i)
      if (said[i].item<std::int64_t>() == answer[static_cast<std::size_t>(i) + 1]) ++matched;
    search_.tell(static_cast<double>(matched) / window_);
    use_without(search_.best());
    if (search_.finished()) scored_.clear();
  }

  int window_;
  exits::LayerSearch search_;
  bool searches_;
  std::shared_ptr<const model::LanguageModel> target_;
  std::map<SlotId, std::unique_ptr<model::KvCache>> scored_;  // prompts of sequences that sets were scored on
};

FORETELL_REGISTER(
    Drafter, SwiftDrafter, "swift",
    {.summary = "the target drafts for itself without the sublayers that a search finds it can do without",
     .stateful = true,
     .paper = {"Xia et al.", 2024, "2410.06916"},
     .also_known_as = {"SWIFT"},
     .taxonomy = {.focus = "model-centric", .ryu2024 = "dependent draft model", .xia2024 = "self-drafting"},
     .preset_of = "self"});

}  // namespace
}  // namespace foretell::drafters
