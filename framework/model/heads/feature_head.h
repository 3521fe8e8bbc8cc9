// A head that drafts the target's states one after the other, with keys and values of its own: EAGLE's, EAGLE-3's.
//
// Contract: row t reads what the target says of position t (states_of, condition) and the token of position t + 1
// (fuse), and forward() says the state that the row of t + 1 would read in a draft; logits() makes it a distribution of
// the token at t + 2. Rows of committed text are conditioned states of the target; in a draft, forward()'s rows take
// their place as they are. Positions count from 0 with the first pair. const and safe to share.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>

#include "framework/model/hidden.h"
#include "framework/model/language_model.h"

namespace foretell::model::heads {

class FeatureHead {
 public:
  virtual ~FeatureHead() = default;

  // What it reads of the target: states behind so many of its layers, one beside the other; none: the final normed one.
  virtual std::vector<int> aux_states() const { return {}; }
  // Of that, one row a position: [rows, width].
  virtual at::Tensor states_of(const HiddenStates& hidden) const = 0;
  // [rows, width] -> [rows, hidden], what fuse() reads.
  virtual at::Tensor condition(const at::Tensor& states) const { return states; }

  virtual std::unique_ptr<KvCache> make_cache(int capacity) const = 0;
  virtual int context() const = 0;
  // Rows to go into forward() as ForwardItem::input.
  virtual at::Tensor fuse(TokenSpan tokens, const at::Tensor& features) const = 0;
  // The predicted states of all rows, [rows, hidden].
  virtual at::Tensor forward(std::span<const ForwardItem> batch) const = 0;
  // float32 [rows, vocab of the head]
  virtual at::Tensor logits(const at::Tensor& features) const = 0;
  // By id of its logits the target's; empty: the same.
  virtual std::span<const Token> target_ids() const { return {}; }
};

}  // namespace foretell::model::heads
