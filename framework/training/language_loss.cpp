#include "framework/training/language_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/embedding.h>

#include "framework/training/autograd/training_ops.h"

namespace foretell::training {

at::Tensor loss_states(const at::Tensor& state, const autograd::TrainBatch& batch) {
  if (batch.loss_rows.size(0) == state.size(0)) return state;
  return at::embedding(state, batch.loss_rows);  // selects rows, with a faster derivative than index_select's
}

autograd::TrainLoss LanguageLoss::loss(const autograd::TrainBatch& batch) const {
  const at::Tensor state = loss_states(model_->forward(batch), batch);
  const at::Tensor total =
      autograd::head_loss_training(state, model_->head(), batch.targets, batch.weights) / batch.normaliser;
  return {total, {{"loss", total.detach()}}};
}

}  // namespace foretell::training
