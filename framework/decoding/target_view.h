// The target's own layers and its cache, lent to a drafter.
//
// Contract: provisional() appends *provisional* rows to the target's session, for the caller to forward: rows of all
// sequences of a batch go through one forward of the target's model. take() hands the states over that they left with.
// When the draft is scored, a provisional row that the draft names (same token on the same path) and that was taken is
// finished from its state, in the forward that computes the draft's other rows from the start. Nothing is computed
// twice in that case (LayerSkip, Elhoushi et al. 2024, arXiv 2404.16710). Provisional rows that the draft does not name
// are dropped. Rows that were not taken, or not computed as the target computes them (sublayers left out, another
// router, a part of the cache in sight), and rows that went deeper than one that they follow, are computed again.
// lend() hands out the cache itself, for drafters that run the whole target under other rules than its own (which rows
// are attended): whatever they append is dropped before the draft is scored, so the target's cache only ever keeps rows
// of the target's own. Provisional rows are dropped by it, and computed again when the draft is scored.
#pragma once

#include <span>

#include "framework/api/draft_tree.h"
#include "framework/model/language_model.h"

namespace foretell::decoding {

class TargetView {
 public:
  virtual ~TargetView() = default;
  virtual int num_layers() const = 0;
  // Rows for `nodes` behind this round's provisional ones. The first provisional row of a round is the anchor (parent
  // 0); the parent of any other is the index of an earlier provisional row. The rows count as forwarded from then on,
  // so the forward has to follow; what the item points to lives until the next call. The caller decides how deep they
  // go: ForwardOptions::layers, ForwardItem::leaves.
  virtual model::ForwardItem provisional(std::span<const DraftNode> nodes) = 0;
  // Makes the options of that forward ask for what take() needs; `layers` and the caller's own auxiliary hidden states
  // are set before. All views of one target ask for the same.
  virtual void ask(model::ForwardOptions& options) const = 0;
  // The result of that forward, by the target's own model, where `first_row` is the item's first row in it.
  virtual void take(const model::ForwardResult& result, int first_row) = 0;
  // Drops this round's provisional rows: the next one is the anchor again.
  virtual void drop_provisional() = 0;
  // The committed tokens but the anchor, with room for the round's rows behind them. Until the next call of this
  // sequence's target.
  virtual model::KvCache& lend() = 0;
};

}  // namespace foretell::decoding
