// What learners of heads that predict the target's states share (EAGLE's layer): weights, forward, files, and which
// drafts a text would accept.
//
// Contract: step() is step s of a draft behind every row at once: row t reads the state that the draft has reached and
// the token s + 1 places behind t, and sees the true pairs up to t and its own rows of steps 1 to s, exactly as the
// drafter does. What it says is the state s + 1 places behind t.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "framework/formats/model_config.h"
#include "framework/training/autograd/training_ops.h"
#include "framework/training/learner.h"

namespace foretell::model::heads {
class EagleHead;
}

namespace foretell::training::learners {

// Weights of the two terms that such losses have, and the noise on the states that are read.
struct FeatureLossOptions {
  double regression = 1.0, divergence = 0.1, noise = 0.05;
  Location where = {};
  void declare(Parameters& p);
};

class FeatureLearner : public Learner {
 public:
  bool trains_model() const final { return false; }
  HiddenStateRequest required_hidden_states() const final { return {.final_state = true}; }
  void set_up(const LearnerInputs& inputs) override;
  std::vector<autograd::TrainParameter> parameters() const override;
  at::Tensor draft_hits(const autograd::TrainBatch& batch, int depth) const override;
  void save(const std::filesystem::path& folder) const override;
  std::optional<DraftedBy> drafter(const std::filesystem::path& folder, int depth) const override;
  std::string description() const override;

 protected:
  explicit FeatureLearner(FeatureLossOptions options);

  // The target's states, with the noise.
  at::Tensor read_states(const autograd::TrainBatch& batch) const;
  // `steps` has the steps before, and gets this one. [rows, hidden]
  at::Tensor step(const autograd::TrainBatch& batch, const at::Tensor& states,
                  std::vector<autograd::UnrolledStep>& steps) const;

  // The rows that say something which a batch knows, and what is true there.
  struct Said {
    at::Tensor state, expected;  // [n, hidden]
    at::Tensor targets, weights;
  };
  Said said(const autograd::TrainBatch& batch, const at::Tensor& states, int step) const;
  struct Terms {
    at::Tensor total, regression, divergence;  // the last two without their weights
  };
  Terms terms(const autograd::TrainBatch& batch, const Said& said) const;
  const at::Tensor& output() const { return output_; }  // the target's head, [vocab, hidden]

 private:
  struct Sequence {
    std::int64_t first, length;
  };

  std::int64_t queries() const { return std::int64_t{config_.num_heads} * config_.head_dim; }
  std::int64_t keys() const { return std::int64_t{config_.num_kv_heads} * config_.head_dim; }
  std::vector<std::pair<std::string, at::Tensor>> named() const;
  static void add_hits(const model::heads::EagleHead& head, const autograd::TrainBatch& batch, Sequence at,
                       const at::Tensor& behind, const at::Tensor& next, at::Tensor& hits);

  FeatureLossOptions options_;
  std::shared_ptr<const model::LanguageModel> target_;
  std::string save_dtype_;
  formats::ModelConfig config_;
  std::vector<double> frequencies_;
  at::Tensor output_;
  at::Tensor fc_, fc_bias_, qkv_, attended_, norm_, up_, down_;
};

}  // namespace foretell::training::learners
