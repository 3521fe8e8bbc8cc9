// What learners of heads share that draft from one state of the target and the tokens behind it (hydra, mlp_speculator,
// redrafter): their steps behind every row at once, the loss, and which drafts a text would accept.
//
// Contract: step s from 0 is given the token s + 1 places behind each row and speaks of the one after it. The loss of a
// step is `ce` times the cross-entropy of the text plus `kl` times the divergence from the target's distribution there;
// step s counts decay^s.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "framework/training/autograd/training_ops.h"
#include "framework/training/learner.h"
#include "framework/training/learners/unrolled.h"

namespace foretell::model::heads {
class PathHead;
}

namespace foretell::training::learners {

struct PathLossOptions {
  double ce = 1, kl = 0, decay = 1;
  Location where = {};
  void declare(Parameters& p);
};

class PathLearner : public Learner {
 public:
  bool trains_model() const final { return false; }
  HiddenStateRequest required_hidden_states() const final { return {.final_state = true}; }
  void set_up(const LearnerInputs& inputs) override;
  autograd::TrainLoss loss(const autograd::TrainBatch& batch) const final;
  at::Tensor draft_hits(const autograd::TrainBatch& batch, int depth) const final;

 protected:
  explicit PathLearner(PathLossOptions options);

  // By row of the batch what a draft behind it starts with.
  virtual at::Tensor start(const autograd::TrainBatch& batch) const { return batch.target.final_state; }
  struct Step {
    at::Tensor path;   // what the next step is given
    at::Tensor state;  // what the step's output reads
  };
  virtual Step step(int number, const at::Tensor& path, const at::Tensor& tokens) const = 0;
  virtual int steps() const = 0;
  virtual at::Tensor output(int number) const = 0;  // [vocab, width of the state]
  // With the weights as they are.
  virtual std::shared_ptr<const model::heads::PathHead> head() const = 0;

  const std::shared_ptr<const model::LanguageModel>& model() const { return target_; }
  const at::Tensor& target_head() const { return target_head_; }
  const std::string& save_dtype() const { return save_dtype_; }
  std::int64_t hidden() const { return target_->config().hidden_size; }

 private:
  PathLossOptions options_;
  std::shared_ptr<const model::LanguageModel> target_;
  std::string save_dtype_;
  at::Tensor target_head_;  // [vocab, hidden]
};

// {type: name, num_speculative_tokens: depth, head: folder}, without a tree.
ConfigValue head_section(const std::string& type, const std::filesystem::path& folder, int depth);

}  // namespace foretell::training::learners
