// The target's own layers and its cache, lent to a drafter.
//
// Contract: forward_early() appends *provisional* rows to the target's session. When the draft is scored, a provisional
// row that the draft names (same token on the same path) and that was computed with the first e layers is finished from
// its stored state; rows that the draft does not name are dropped, and rows computed with any other set of sublayers
// are computed again. Nothing is computed twice in the first case (LayerSkip, Elhoushi et al. 2024, arXiv 2404.16710).
// lend() hands out the cache itself, for drafters that run the whole target under other rules than its own (which rows
// are attended): whatever they append is dropped before the draft is scored, so the target's cache only ever keeps rows
// of the target's own. Rows of forward_early() are dropped by it, and computed again when the draft is scored.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "framework/api/draft_tree.h"
#include "framework/model/kv_cache.h"
#include "framework/model/layers.h"

namespace foretell::decoding {

struct EarlyResult {
  at::Tensor logits;  // [rows, vocab] float32: the head on the state that leaves the computed layers
  at::Tensor state;   // [rows, hidden], un-normed
};

class TargetView {
 public:
  virtual ~TargetView() = default;
  virtual int num_layers() const = 0;
  // Appends rows for `nodes` to this round's provisional rows. The first provisional row of a round is the anchor
  // (parent 0); the parent of any other is the index of an earlier provisional row. All calls of a round use the same
  // set of sublayers.
  virtual EarlyResult forward_early(std::span<const DraftNode> nodes, const model::LayerSet& computed) = 0;
  // The committed tokens but the anchor, with room for the round's rows behind them. Until the next call of this
  // sequence's target.
  virtual model::KvCache& lend() = 0;
};

}  // namespace foretell::decoding
