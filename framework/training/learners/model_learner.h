// What learners of a whole language model share: the section `model` of the training file.
//
// Contract: set_up() makes the model (new weights of a config, or those of a folder) and checks that tokenizer, chat
// template and batches fit it. save() writes config.json, generation_config.json and model.safetensors.
#pragma once

#include <memory>

#include "framework/training/autograd/trainable_transformer.h"
#include "framework/training/learner.h"

namespace foretell::training::learners {

class ModelLearner : public Learner {
 public:
  bool trains_model() const final { return true; }
  void set_up(const LearnerInputs& inputs) override;
  std::vector<autograd::TrainParameter> parameters() const override { return model_->parameters(); }
  double heldout_loss(const autograd::TrainBatch& batch) const override;
  std::shared_ptr<const model::LanguageModel> snapshot() const override;
  void save(const std::filesystem::path& folder) const override;
  std::string description() const override;

 protected:
  // An Error where the target's vocabulary is another one.
  void check_vocabulary(const model::LanguageModel& target, const TargetSettings& settings) const;

  std::shared_ptr<autograd::TrainableTransformer> model_;

 private:
  at::ScalarType stored_ = at::kFloat;
};

}  // namespace foretell::training::learners
