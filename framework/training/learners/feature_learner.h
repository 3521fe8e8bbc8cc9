// What learners of EAGLE's layer share (eagle, hass): weights, forward, files, and which drafts a text would accept.
//
// Contract: step() is step s of a draft behind every row at once (unrolled.h). What it says is the target's final state
// s + 1 places behind each row.
#pragma once

#include <string>
#include <vector>

#include "framework/formats/model_config.h"
#include "framework/training/learner.h"
#include "framework/training/learners/unrolled.h"

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

  struct Terms {
    at::Tensor total, regression, divergence;  // the last two without their weights
  };
  Terms terms(const autograd::TrainBatch& batch, const Said& said) const;
  const at::Tensor& output() const { return output_; }  // the target's head, [vocab, hidden]

 private:
  NamedTensorList named() const;

  FeatureLossOptions options_;
  std::shared_ptr<const model::LanguageModel> target_;
  std::string save_dtype_;
  formats::ModelConfig config_;
  at::Tensor output_;
  at::Tensor fc_, fc_bias_;
  UnrolledLayer layer_;
};

}  // namespace foretell::training::learners
