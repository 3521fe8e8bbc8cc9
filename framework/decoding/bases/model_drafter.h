// Drafting by a language model: what every drafter that runs one shares.
//
// Contract: drafts a chain, or a tree in the shape of a tree policy. Tokens are drawn from the model's law, warped as
// the target's is, with or without replacement among siblings; or they are the top-k of it, as point masses. At
// temperature 0 they are always the top-k: a draw from a point mass has no second child to give. All sequences of the
// batch go through one forward a level. Caches are pulled into step, so `committed` may also lose tokens between two
// calls. With a vocabulary map the model has tokens of its own: what the target lacks is cut from its law, which is
// renormalised, and tokens that it lacks are read as the tokens of their text. With an attention policy the rows see
// what it leaves of the cache, which may be the target's own where the model is the target.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/api/drafter.h"
#include "framework/api/policy.h"
#include "framework/core/parameters.h"
#include "framework/core/vocabulary_map.h"
#include "framework/decoding/bases/model_session.h"

namespace foretell::bases {

struct ModelDraftOptions {
  std::optional<int> num_speculative_tokens;
  std::string method = "sample";
  bool replacement = false;
  std::optional<double> temperature;
  ConfigValue tree = {};  // of this drafter: a tree policy, or none; null: the pipeline's
  void declare(Parameters& p);
  bool names_tree() const { return !tree.is_null() && !(tree.is_scalar() && tree.text() == "none"); }
};

// Where a target that drafts for itself puts the rows it drafts: on its own cache, which drops them before they are
// scored, or on a second one.
struct DraftCacheOption {
  std::string choice = "auto";
  Location where = {};
  void declare(Parameters& p);
};

class ModelDrafter : public Drafter {
 public:
  // `context` for the tree policy of a pipeline whose drafter names none; `vocabulary` where the model's is not the
  // target's.
  ModelDrafter(ModelDraftOptions options, std::shared_ptr<const model::LanguageModel> model,
               const BuildContext& context, std::optional<VocabularyMap> vocabulary = std::nullopt);

  DraftBudget limits() const override;
  DraftForm form() const override;
  bool draws_through_context() const override { return true; }
  bool rewinds() const override { return cache_ == DraftCache::Own; }
  void begin(SlotId slot, const PromptView& prompt) override;
  void end(SlotId slot) override { sequences_.erase(slot); }
  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override;

 protected:
  // Called once, by the constructor of a drafter whose model is the target, or has its shape. No policy: all of the
  // cache is seen. A second cache is taken where it is asked for, where the policy looks at weights, and for trees that
  // grow beyond what is scored; if the option forbids it there, an Error.
  void draft_for_itself(std::unique_ptr<const AttentionPolicy> policy, const DraftCacheOption& cache,
                        const char* drafter);

 private:
  enum class DraftCache { Own, Targets };
  // Nodes that a draft may have before the tree policy cuts it to its limits.
  int rows_drafted() const;
  struct Level;
  struct Growth;
  // The committed text in the model's own tokens, and its cache.
  struct Sequence {
    explicit Sequence(ModelSession opened) : session(std::move(opened)) {}
    ModelSession session;
    Tokens source, tokens;          // the target's, and their translation; both empty without a map
    std::vector<std::size_t> ends;  // of each source token in `tokens`
  };

  int node_limit(const Growth& growth) const;
  bool chooses(const Growth& growth) const;
  bool wants_laws(const Growth& growth) const;
  TokenSpan own_tokens(Sequence& sequence, TokenSpan committed) const;
  Token own_token(Token token) const {
    return vocabulary_ ? vocabulary_->to_draft[static_cast<std::size_t>(token)].front() : token;
  }
  std::span<const float> row(Level& level, int index) const;

  std::vector<Growth*> start(std::vector<Growth>& all, Level& level);
  Level forward(const std::vector<model::ForwardItem>& items, const Growth& any,
                const std::vector<std::int64_t>* rows = nullptr) const;
  Level forward_level(std::span<Growth* const> active) const;
  int add_level(Growth& growth, int depth, Level& level, int first_row);
  std::vector<int> plan_level(Growth& growth, int depth, const std::vector<std::optional<Law>>& laws, Level& level,
                              int first_row);
  void add_children(Growth& growth, NodeId parent, Level& level, int index, int width,
                    const std::optional<Law>& ranking, std::vector<NodeId>& children);
  std::vector<Token> top_tokens(const Growth& growth, NodeId node, Level& level, int index, int width) const;
  DraftTree select(Growth growth);

  ModelDraftOptions options_;
  std::shared_ptr<const model::LanguageModel> model_;
  std::unique_ptr<TreePolicy> shape_;
  std::optional<VocabularyMap> vocabulary_;
  std::unique_ptr<const AttentionPolicy> attention_;
  DraftCache cache_ = DraftCache::Own;
  int target_vocab_;
  std::map<SlotId, Sequence> sequences_;
};

// The checkpoint that a drafter's own option names, else the study's model.draft. An Error if there is neither.
std::string draft_checkpoint(const std::string& option, const BuildContext& context, const char* drafter);
// That checkpoint, loaded. An Error unless it has the target's vocabulary, or one that differs from it in padding
// alone: then it is aligned.
std::shared_ptr<const model::LanguageModel> load_draft(const std::string& option, const BuildContext& context,
                                                       const char* drafter);

}  // namespace foretell::bases
