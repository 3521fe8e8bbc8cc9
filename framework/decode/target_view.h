// The target's own first layers, lent to a drafter.
//
// Contract: forward_early() appends *provisional* rows to the target's session. When the draft is scored, a provisional row that the draft names
// (same token on the same path) and that was computed with the first e layers is finished from its stored state; rows that the draft does not
// name are dropped, and rows computed with any other set of sublayers are computed again. Nothing is computed twice in the first case (LayerSkip,
// Elhoushi et al. 2024, arXiv 2404.16710).
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "framework/decode/draft_tree.h"
#include "framework/model/layers.h"

namespace foretell {

struct EarlyResult {
  at::Tensor logits;  // [rows, vocab] float32: the head on the state that leaves the computed layers
  at::Tensor state;   // [rows, hidden], un-normed
};

class TargetView {
 public:
  virtual ~TargetView() = default;
  virtual int num_layers() const = 0;
  // Appends rows for `nodes` to this round's provisional rows. The first provisional row of a round is the anchor (parent 0); the parent of any
  // other is the index of an earlier provisional row. All calls of a round use the same set of sublayers.
  virtual EarlyResult forward_early(std::span<const DraftNode> nodes, const LayerSet& computed) = 0;
};

}  // namespace foretell
