// A language model as the source of a draft's levels: its own cache for each sequence, or the target's, lent for a
// draft.
//
// Contract: all sequences of the batch go through one forward a level. Caches are pulled into step. With a vocabulary
// map the model has tokens of its own: tokens that it lacks are read as the tokens of their text. Under rules of early
// exit the anchor and what is drafted may leave; the text before it never does. The exit policy is told how rows left,
// and of those whose draft was judged whether it was right.
#pragma once

#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "framework/core/vocabulary_map.h"
#include "framework/decoding/bases/level_source.h"
#include "framework/decoding/bases/model_session.h"
#include "framework/decoding/forward_rules.h"

namespace foretell::bases {

class ModelSource final : public LevelSource {
 public:
  ModelSource(std::shared_ptr<const model::LanguageModel> model, std::optional<VocabularyMap> vocabulary)
      : model_(std::move(model)), vocabulary_(std::move(vocabulary)) {}

  // The target under rules.
  ModelSource(const std::shared_ptr<const model::LanguageModel>& target, decoding::ForwardRules rules)
      : model_(rules.rounded ? rules.rounded : target), rules_(std::move(rules)) {}

  const decoding::ForwardRules& rules() const { return rules_; }
  // Between drafts: which sublayers the next ones compute. Rows on a cache of its own stay as they are.
  void use_layers(const model::LayerSet& layers) { rules_.layers = layers; }
  // Where the rows of a draft go. Lent: to the target's cache, for the draft alone. Provisional: to the target's cache,
  // from where scoring takes them on (TargetView::provisional).
  enum class DraftCache { Own, Lent, Provisional };
  // Before the first sequence, where the model is the target.
  void draft_on(DraftCache cache) { cache_ = cache; }

  int deepest() const override { return std::numeric_limits<int>::max(); }
  bool rewinds() const override { return cache_ == DraftCache::Own; }
  std::span<const Token> target_ids() const override {
    return vocabulary_ ? std::span<const Token>(vocabulary_->to_target) : std::span<const Token>();
  }
  void begin(SlotId slot, const PromptView& prompt, int most_nodes) override;
  void drafted(SlotId slot, const DraftTree& draft) override;
  void observe(std::span<const RoundView> rounds) override;
  void end(SlotId slot) override { sequences_.erase(slot); }
  LevelRows level(std::span<const LevelRequest> batch, int depth) override;

 private:
  // The committed text in the model's own tokens, and its cache.
  struct Sequence {
    ModelSession session;
    int most_nodes;
    Tokens source = {}, tokens = {};     // the target's, and their translation; both empty without a map
    std::vector<std::size_t> ends = {};  // of each source token in `tokens`
    std::vector<NodeId> forwarded = {};  // nodes of the draft by row behind the anchor
    // Under an exit policy: by row of this round's draft, the anchor first, which node it is and how it left; and the
    // draft that came of them.
    std::vector<DraftNode> rows = {}, draft = {};
    std::vector<ExitRecord> left = {};

    NodeId row_of(NodeId node) const;
  };
  struct Rows;

  bool start(Sequence& sequence, const DraftContext& context, Rows& rows);
  bool grow(Sequence& sequence, const LevelRequest& request, int depth, Rows& rows) const;
  model::ForwardResult forward(Rows& rows, bool wants_states) const;
  void note_exits(const Rows& rows, const model::ForwardResult& result) const;
  bool waits() const { return rules_.exits.policy && rules_.exits.kv == KvRule::Recompute; }
  TokenSpan own_tokens(Sequence& sequence, TokenSpan committed) const;
  Token own_token(Token token) const {
    return vocabulary_ ? vocabulary_->to_draft[static_cast<std::size_t>(token)].front() : token;
  }

  std::shared_ptr<const model::LanguageModel> model_;
  std::optional<VocabularyMap> vocabulary_;
  decoding::ForwardRules rules_;
  DraftCache cache_ = DraftCache::Own;
  std::map<SlotId, Sequence> sequences_;
};

}  // namespace foretell::bases
