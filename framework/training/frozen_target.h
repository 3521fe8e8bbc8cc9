// The frozen target that heads and drafts learn from.
//
// Contract: a model of any family and dtype, computed as it decodes, under inference mode. read() puts the states that
// were asked for beside the rows of a batch, as float32 tensors that a graph may use and none leads into; padding rows
// have states of no meaning.
#pragma once

#include <memory>

#include "framework/api/drafter.h"
#include "framework/model/language_model.h"
#include "framework/training/autograd/trainable.h"

namespace foretell::training {

class FrozenTarget {
 public:
  FrozenTarget(std::shared_ptr<const model::LanguageModel> model, HiddenStateRequest wanted)
      : model_(std::move(model)), wanted_(std::move(wanted)) {}

  void read(autograd::TrainBatch& batch) const;

 private:
  std::shared_ptr<const model::LanguageModel> model_;
  HiddenStateRequest wanted_;
};

}  // namespace foretell::training
