// A draft model with the cache of one sequence: its own, or the target's, lent for a draft.
//
// Contract: the cache is *pulled* into step. align(prefix) keeps whatever rows are on the committed path, drafted ones
// included, and drops the rest; what is missing is then forwarded with extend(). So there is no bookkeeping of
// acceptances, no special case after full acceptance, and a draft model that is not asked costs nothing. extend() and
// grow() return a ForwardItem for the caller to batch; the rows count as forwarded from then on, so the forward has to
// follow. Everything a ForwardItem points to lives until the next call. With an attention policy the rows see what it
// leaves of the cache; rows that begin within the first `prompt` tokens of a cache of our own see everything, as in the
// released code of such methods.
#pragma once

#include <memory>
#include <vector>

#include "framework/api/draft_tree.h"
#include "framework/model/language_model.h"

namespace foretell::bases {

struct SessionAttention {
  std::unique_ptr<AttentionPolicy> policy = {};  // none: everything is seen
  int prompt = 0;
};

class ModelSession {
 public:
  // `capacity` rows: the longest text plus the largest draft.
  ModelSession(const model::LanguageModel& model, int capacity, SessionAttention attention = {})
      : model_(model), own_(model.make_cache(capacity)), cache_(own_.get()), attention_(std::move(attention)) {}
  // Without a cache: one is lent before every draft.
  ModelSession(const model::LanguageModel& model, SessionAttention attention)
      : model_(model), attention_(std::move(attention)) {}

  // Works on `cache`, of the same model, until the next loan. It holds `prefix` but for its last token; what else it
  // holds is dropped.
  void borrow(model::KvCache& cache, TokenSpan prefix);

  // Keeps the rows that lie on `prefix` (at least one token, all but the last at most). The number of tokens kept; the
  // rest is to be extended.
  int align(TokenSpan prefix);
  // Rows for `tokens`, each following the one before. Only without drafted rows: align() comes first.
  model::ForwardItem extend(TokenSpan tokens, model::LogitRows logits);
  // Rows for drafted nodes behind the last extended token, which is row 0 of the tree; node i of all nodes grown so far
  // is row i.
  model::ForwardItem grow(std::span<const DraftNode> nodes);

  // The result of such a forward where rows may stop early (KvRule::Recompute): `first_row` is its first row there, of
  // `rows`, and last_state was asked for. Rows that are owed the layers above come first in the next grow(), whose
  // nodes follow one another as a chain; align() drops them.
  void take(const model::ForwardResult& result, int first_row, int rows);
  int owed() const { return static_cast<int>(owed_.tokens.size()); }

  // extend() and grow() in one: rows for `tokens` (at least one), then for nodes of a tree that starts behind the last
  // of them.
  model::ForwardItem extend_and_grow(TokenSpan tokens, std::span<const DraftNode> nodes);

  int positions_left() const { return model_.config().context - static_cast<int>(tokens_.size()); }
  int room() const { return cache_->capacity() - static_cast<int>(tokens_.size() + drafted_.size()); }

 private:
  model::ItemAttention attention(std::size_t first) const;  // of rows that begin at this row
  void drop_owed();
  model::ForwardItem grow_behind_owed(std::span<const DraftNode> nodes);

  const model::LanguageModel& model_;
  std::unique_ptr<model::KvCache> own_;
  model::KvCache* cache_ = nullptr;
  SessionAttention attention_;
  Tokens tokens_;                   // of the committed rows
  std::vector<DraftNode> drafted_;  // the rows behind them; parent 0 is the last committed row
  Tokens pending_;
  std::vector<NodeId> parents_;
  // The last rows, which stopped behind so many layers with these states.
  struct Owed {
    Tokens tokens;
    std::vector<int> reached;
    at::Tensor state;
  };
  Owed owed_;
  std::vector<int> enters_;
};

}  // namespace foretell::bases
