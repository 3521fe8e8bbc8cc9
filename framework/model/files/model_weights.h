// The tensors of a checkpoint, checked as a whole against what its config asks for before the first is used.
//
// Contract: after construction every tensor of weight_list(config) is there, has the shape that is asked for and a number type that can be read
// (I8 for ternary matrices, F32, F16, BF16 or F64 for the rest), and the checkpoint has nothing else but what may be ignored. The checkpoint outlives
// this view. Torch-free.
#pragma once

#include <map>
#include <string>

#include "framework/model/files/model_config.h"
#include "framework/model/files/safetensors.h"
#include "framework/model/files/weight_list.h"

namespace foretell {

class ModelWeights {
 public:
  ModelWeights(const Checkpoint& checkpoint, const ModelConfig& config);

  // Null if the config has no such tensor. `name` as weight_list() spells it.
  const StoredTensor* find(const std::string& name) const;

 private:
  void check(const Checkpoint& checkpoint, const ModelConfig& config, const WeightSpec& spec);

  std::map<std::string, const StoredTensor*> stored_;
};

}  // namespace foretell
