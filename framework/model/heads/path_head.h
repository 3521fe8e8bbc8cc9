// Heads that draft from one state of the target and the tokens chosen behind it, without keys and values of their own:
// Hydra's, MLP speculators, ReDrafter's.
//
// Contract: start() makes of the target's final state of a row what a draft behind it goes on from; step() takes that
// and the token that was chosen next, and says what the draft goes on from and the logits of the token behind it. Step
// 0 is given the token that the target itself has chosen. A head may read the text through layers of its own first:
// then prefix() has them, and start() is given their final states (Hydra++). const and safe to share.
#pragma once

#include <ATen/core/Tensor.h>

#include "framework/core/types.h"
#include "framework/model/language_model.h"

namespace foretell::model::heads {

struct PathStep {
  at::Tensor path;    // [rows, width], of the step's own width
  at::Tensor logits;  // float32 [rows, vocab of the target]
};

class PathHead {
 public:
  virtual ~PathHead() = default;
  // Steps that it has.
  virtual int deepest() const = 0;
  // Layers that read rows of the target's final states, one a position; null: none.
  virtual const LanguageModel* prefix() const { return nullptr; }
  virtual at::Tensor start(const at::Tensor& states) const = 0;  // [rows, hidden] -> [rows, width]
  virtual PathStep step(int number, const at::Tensor& path, TokenSpan tokens) const = 0;
};

}  // namespace foretell::model::heads
