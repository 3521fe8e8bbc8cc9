// What learners of a model whose rows may leave early share: a loss behind several layers, all of them through the
// model's own norm and head, and what an evaluation says of the exits.
//
// Contract: the loss of a batch is the sum over layers of shares() times the cross-entropy behind that layer. Of a
// batch without graph the held-out loss is that of the last layer. Dropping and shares are functions of the batch, so
// that a run that goes on has the same.
#pragma once

#include <vector>

#include "framework/training/learners/model_learner.h"

namespace foretell::training::learners::exits {

// Where a learner's exits are looked at in an evaluation.
struct ExitEvaluation {
  std::vector<int> layers = {};  // empty: at a quarter, a half and three quarters of the model
  int depth = 4;
  Location where = {};
  void declare(Parameters& p);
  // An Error for a layer that a model of so many layers cannot be left at.
  std::vector<int> of(int num_layers) const;
};

// {type: self, exit: {type: fixed_layer, layer: 4}, num_speculative_tokens: depth}
ConfigValue self_section(int layer, int depth);

class ExitModelLearner : public ModelLearner {
 public:
  void set_up(const LearnerInputs& inputs) override;
  autograd::TrainLoss loss(const autograd::TrainBatch& batch) const override;
  std::vector<int> exits() const override { return evaluated_; }
  std::vector<double> exit_losses(const autograd::TrainBatch& batch) const override;
  std::optional<DraftedBy> exit_drafter(const std::filesystem::path& folder, int layer) const override;
  std::optional<DraftedBy> drafter(const std::filesystem::path&, int) const override { return std::nullopt; }

 protected:
  explicit ExitModelLearner(ExitEvaluation evaluation) : evaluation_(std::move(evaluation)) {}

  int num_layers() const { return model_->config().num_layers; }
  // By layer, behind it: what its cross-entropy counts. The last one's is above 0.
  virtual std::vector<double> shares(const autograd::TrainBatch& batch) const = 0;
  // By layer how often a sequence skips it.
  virtual std::vector<double> dropout(const autograd::TrainBatch&) const { return {}; }

 private:
  std::vector<at::Tensor> kept(const autograd::TrainBatch& batch) const;
  at::Tensor loss_behind(const at::Tensor& normed, const autograd::TrainBatch& batch) const;

  ExitEvaluation evaluation_;
  std::vector<int> evaluated_;
};

}  // namespace foretell::training::learners::exits
