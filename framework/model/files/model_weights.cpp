#include "framework/model/files/model_weights.h"

#include <set>

#include "framework/base/error.h"

namespace foretell {
namespace {

bool can_be_read(StoredType type, bool ternary) {
  if (ternary) return type == StoredType::I8;
  return type == StoredType::F32 || type == StoredType::F16 || type == StoredType::BF16 || type == StoredType::F64;
}

// By its full name, or by the one without the prefix, which files may leave out.
StoredTensors::const_iterator find_stored(const Checkpoint& checkpoint, const ModelConfig& config, const std::string& name) {
  const auto whole = checkpoint.tensors().find(name);
  const std::string_view prefix = weight_names(config.naming).prefix;
  return whole != checkpoint.tensors().end() || !name.starts_with(prefix) ? whole : checkpoint.tensors().find(name.substr(prefix.size()));
}

// Transformers' own layout in memory; its save_pretrained() writes it when asked for, files on the hub have a tensor for each expert.
void refuse_joined_experts(const Checkpoint& checkpoint) {
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    if (name.ends_with(".experts.gate_up_proj") || name.ends_with(".experts.down_proj")) {
      fail("{}: the tensor '{}' {} holds all experts of a layer; one tensor for each is read: save_pretrained(save_original_format=True)",
           checkpoint.file_of(name), name, to_string(tensor.shape));
    }
  }
}

}  // namespace

ModelWeights::ModelWeights(const Checkpoint& checkpoint, const ModelConfig& config) {
  if (config.moe.experts > 0) refuse_joined_experts(checkpoint);
  for (const WeightSpec& spec : weight_list(config)) check(checkpoint, config, spec);
  std::set<const StoredTensor*> used;
  for (const auto& [name, tensor] : stored_) used.insert(tensor);
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    if (!used.contains(&tensor) && !is_ignorable_weight(config, name)) {
      fail("{}: the tensor '{}' {} has no place in this {} model: config.json does not describe these weights", checkpoint.file_of(name),
           name, to_string(tensor.shape), config.family);
    }
  }
}

const StoredTensor* ModelWeights::find(const std::string& name) const {
  const auto it = stored_.find(name);
  return it == stored_.end() ? nullptr : it->second;
}

void ModelWeights::check(const Checkpoint& checkpoint, const ModelConfig& config, const WeightSpec& spec) {
  const auto found = find_stored(checkpoint, config, spec.name);
  if (found == checkpoint.tensors().end()) {
    fail("{}: the tensor '{}' {} is missing: config.json ({}, {} layers) asks for it", checkpoint.name(), spec.name, to_string(spec.shape),
         config.family, config.num_layers);
  }
  const StoredTensor& tensor = found->second;
  if (tensor.shape != spec.shape) {
    fail("{}: the tensor '{}' has shape {}, config.json asks for {}", checkpoint.name(), spec.name, to_string(tensor.shape),
         to_string(spec.shape));
  }
  const bool ternary = spec.kind == WeightKind::Ternary;
  if (!can_be_read(tensor.type, ternary)) {
    fail("{}: the tensor '{}' is stored as {}; {} can be read", checkpoint.name(), spec.name, name_of(tensor.type),
         ternary ? "I8" : "F32, F16, BF16 and F64");
  }
  stored_[spec.name] = &tensor;
}

}  // namespace foretell
