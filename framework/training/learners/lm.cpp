// A language model that learns the next token of its data.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

#include "framework/training/language_loss.h"
#include "framework/training/learners/expert_balance.h"
#include "framework/training/learners/model_learner.h"

namespace foretell::training::learners {
namespace {

class LmLearner final : public ModelLearner {
 public:
  using Options = BalanceOptions;
  LmLearner(Options options, const BuildContext&) : options_(std::move(options)) {}

  void set_up(const LearnerInputs& inputs) override {
    ModelLearner::set_up(inputs);
    balance_.emplace(options_, *model_);
  }

  autograd::TrainLoss loss(const autograd::TrainBatch& batch) const override {
    autograd::ExpertRun run = balance_->run();
    const at::Tensor state = loss_states(model_->forward(batch, &run), batch);
    const at::Tensor total =
        autograd::head_loss_training(state, model_->head(), batch.targets, batch.weights) / batch.normaliser;
    autograd::TrainLoss loss{total, {{"loss", total.detach()}}};
    balance_->add(run, batch.weights.sum().item<double>() / batch.normaliser, loss);
    return loss;
  }
  void after_step() override { balance_->after_step(*model_); }

  double heldout_loss(const autograd::TrainBatch& batch) const override {
    const c10::NoGradGuard no_grad;
    autograd::ExpertRun run = balance_->run();
    const at::Tensor state = loss_states(model_->forward(batch, &run), batch);
    return autograd::head_loss_training(state, model_->head(), batch.targets, batch.weights).item<double>();
  }
  std::optional<DraftedBy> drafter(const std::filesystem::path&, int) const override { return std::nullopt; }

 private:
  Options options_;
  mutable std::optional<ExpertBalance> balance_;  // counts the loads of a step
};

FORETELL_REGISTER(Learner, LmLearner, "lm", {.summary = "a language model: cross-entropy of the next token"});

}  // namespace
}  // namespace foretell::training::learners
