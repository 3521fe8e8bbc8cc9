// Next-token cross-entropy of a transformer: what `foretell train` minimises without a teacher.
//
// Contract: the weighted sum over the batch's loss rows divided by its normaliser. Logits exist only for rows that have
// a loss.
#pragma once

#include <memory>

#include "framework/training/autograd/trainable.h"
#include "framework/training/autograd/trainable_transformer.h"

namespace foretell::training {

class LanguageLoss final : public autograd::Trainable {
 public:
  explicit LanguageLoss(std::shared_ptr<const autograd::TrainableTransformer> model) : model_(std::move(model)) {}

  std::vector<autograd::TrainParameter> parameters() const override { return model_->parameters(); }
  autograd::TrainLoss loss(const autograd::TrainBatch& batch) const override;

 private:
  std::shared_ptr<const autograd::TrainableTransformer> model_;
};

// The states that are to predict something: [loss rows, hidden] of state [rows, hidden].
at::Tensor loss_states(const at::Tensor& state, const autograd::TrainBatch& batch);

}  // namespace foretell::training
