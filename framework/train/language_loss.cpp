#include "framework/train/language_loss.h"

#include <ATen/ATen.h>

namespace foretell {

at::Tensor loss_states(const at::Tensor& state, const TrainBatch& batch) {
  if (batch.loss_rows.size(0) == state.size(0)) return state;
  return at::embedding(state, batch.loss_rows);  // selects rows, with a faster derivative than index_select's
}

TrainLoss LanguageLoss::loss(const TrainBatch& batch) const {
  const at::Tensor logits = model_->logits(loss_states(model_->forward(batch), batch)).to(at::kFloat);
  const at::Tensor each = at::cross_entropy_loss(logits, batch.targets, {}, at::Reduction::None);
  const at::Tensor total = at::dot(each, batch.weights) / batch.normaliser;
  return {total, {{"loss", total.detach()}}};
}

}  // namespace foretell
