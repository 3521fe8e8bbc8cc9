// The tensors of a checkpoint, checked as a whole against what its config asks for before the first is used.
//
// Contract: after construction every tensor of weight_list(config) is there, has the shape that is asked for and a
// dtype that can be read (I8 for ternary matrices, F32, F16, BF16 or F64 for the rest), and the checkpoint has
// nothing else but what may be ignored: the lists of weight_list.h, and a head that is the embedding once more. The
// checkpoint outlives this view. Torch-free.
#pragma once

#include <map>
#include <string>

#include "framework/formats/model_config.h"
#include "framework/formats/safetensors.h"
#include "framework/formats/weight_list.h"

namespace foretell::formats {

// `config`, untied where the checkpoint holds another head than the embedding: what is stored counts, as it does for
// Transformers and vLLM.
ModelConfig with_stored_head(const Checkpoint& checkpoint, ModelConfig config);

// Of a folder: load_model_config() with the head as it is stored.
ModelConfig load_stored_config(const std::filesystem::path& folder);

class ModelWeights {
 public:
  // `config` as with_stored_head() gives it. Weights of 4 bits are an Error, but for who reads them.
  enum class Int4 { Refused, Read };
  ModelWeights(const Checkpoint& checkpoint, const ModelConfig& config, Int4 int4 = Int4::Refused);

  // Null if the config has no such tensor. `name` as weight_list() spells it.
  const StoredTensor* find(const std::string& name) const;
  // The matrix of that name without ".weight", if it is stored with 4 bits.
  const StoredInt4* find_int4(const std::string& stem) const;

 private:
  void check(const Checkpoint& checkpoint, const ModelConfig& config, const WeightSpec& spec);
  void check_rest(const Checkpoint& checkpoint, const ModelConfig& config) const;

  std::map<std::string, const StoredTensor*> stored_;
  std::map<std::string, StoredInt4> int4_;
};

}  // namespace foretell::formats
