#include "framework/formats/model_weights.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/formats/other_kinds.h"
#include "framework/io/json.h"

namespace foretell::formats {
namespace {

bool can_be_read(StoredType type, bool ternary) {
  if (ternary) return type == StoredType::I8;
  return type == StoredType::F32 || type == StoredType::F16 || type == StoredType::BF16 || type == StoredType::F64;
}

// By its full name, or by the one without the prefix, which files may leave out. A tied embedding may be stored as the
// head alone.
StoredTensors::const_iterator find_stored(const Checkpoint& checkpoint, const ModelConfig& config,
                                          const std::string& name) {
  const WeightNames names = weight_names(config.naming);
  const StoredTensors& tensors = checkpoint.tensors();
  auto found = tensors.find(name);
  if (found == tensors.end() && name.starts_with(names.prefix))
    found = tensors.find(name.substr(std::string_view(names.prefix).size()));
  return found == tensors.end() && config.tie_embeddings && name == names.embedding ? tensors.find(names.head) : found;
}

// Transformers' own layout in memory; its save_pretrained() writes it when asked for, files on the hub have a tensor
// for each expert.
void refuse_joined_experts(const Checkpoint& checkpoint) {
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    if (name.ends_with(".experts.gate_up_proj") || name.ends_with(".experts.down_proj")) {
      fail(
          "{}: the tensor '{}' {} holds all experts of a layer; one tensor for each is read: "
          "save_pretrained(save_original_format=True)",
          checkpoint.file_of(name), name, to_string(tensor.shape));
    }
  }
}

bool same_values(const StoredTensor& a, const StoredTensor& b) {
  return a.type == b.type && a.shape == b.shape && std::ranges::equal(a.bytes, b.bytes);
}

}  // namespace

ModelConfig with_stored_head(const Checkpoint& checkpoint, ModelConfig config) {
  const WeightNames names = weight_names(config.naming);
  const auto head = checkpoint.tensors().find(names.head);
  const auto embedding = find_stored(checkpoint, config, names.embedding);
  const bool both = head != checkpoint.tensors().end() && embedding != checkpoint.tensors().end();
  if (config.tie_embeddings && both) config.tie_embeddings = same_values(head->second, embedding->second);
  return config;
}

ModelConfig load_stored_config(const std::filesystem::path& folder) {
  ModelConfig config = load_model_config(folder);
  return with_stored_head(Checkpoint::open(folder), std::move(config));
}

ModelWeights::ModelWeights(const Checkpoint& checkpoint, const ModelConfig& config, Int4 int4) {
  refuse_other_tensors(checkpoint, config.int4.has_value());
  if (config.int4 && int4 == Int4::Refused)
    fail("{}: has 4-bit weights (GPTQ or AWQ), with which models run; for this, weights of floating point are expected",
         checkpoint.name());
  if (config.moe.experts > 0) refuse_joined_experts(checkpoint);
  for (const WeightSpec& spec : weight_list(config)) check(checkpoint, config, spec);
  check_rest(checkpoint, config);
}

void ModelWeights::check_rest(const Checkpoint& checkpoint, const ModelConfig& config) const {
  std::set<const StoredTensor*> used;
  for (const auto& [name, tensor] : stored_) used.insert(tensor);
  for (const auto& [stem, stored] : int4_) {
    used.insert({stored.qweight, stored.qzeros, stored.scales, stored.order});
    // AWQ's matrices need none.
    if (const auto idle = checkpoint.tensors().find(stem + ".g_idx"); idle != checkpoint.tensors().end())
      used.insert(&idle->second);
  }
  const char* head = weight_names(config.naming).head;
  const StoredTensors::value_type* first = nullptr;
  std::size_t count = 0;
  for (const auto& stored : checkpoint.tensors()) {
    const bool tied_head = config.tie_embeddings && stored.first == head;
    if (tied_head || used.contains(&stored.second) || is_ignorable_weight(config, stored.first)) continue;
    if (count++ == 0) first = &stored;
  }
  if (count == 0) return;
  fail("{}: the tensor '{}' {} has no place in this {} model{}: config.json does not describe these weights",
       checkpoint.file_of(first->first), io::shown(first->first), to_string(first->second.shape), config.family,
       count == 1 ? "" : fmt::format(", and {} more have none", count - 1));
}

const StoredTensor* ModelWeights::find(const std::string& name) const {
  const auto it = stored_.find(name);
  return it == stored_.end() ? nullptr : it->second;
}

const StoredInt4* ModelWeights::find_int4(const std::string& stem) const {
  const auto it = int4_.find(stem);
  return it == int4_.end() ? nullptr : &it->second;
}

void ModelWeights::check(const Checkpoint& checkpoint, const ModelConfig& config, const WeightSpec& spec) {
  const auto found = find_stored(checkpoint, config, spec.name);
  constexpr std::string_view kEnd = ".weight";
  if (config.int4 && found == checkpoint.tensors().end() && spec.kind == WeightKind::Matrix &&
      spec.name.ends_with(kEnd)) {
    const std::string stem = spec.name.substr(0, spec.name.size() - kEnd.size());
    if (has_int4(checkpoint.tensors(), stem) && stem + ".weight" != weight_names(config.naming).head) {
      int4_[stem] = formats::find_int4(checkpoint.tensors(), stem, spec.shape.at(0), spec.shape.at(1), *config.int4,
                                       checkpoint.name());
      return;
    }
  }
  if (found == checkpoint.tensors().end()) {
    fail("{}: the tensor '{}' {} is missing: config.json ({}, {}) asks for it", checkpoint.name(), spec.name,
         to_string(spec.shape), config.family, counted(config.num_layers, "layer"));
  }
  const StoredTensor& tensor = found->second;
  if (tensor.shape != spec.shape) {
    fail("{}: the tensor '{}' has shape {}, config.json asks for {}", checkpoint.name(), spec.name,
         to_string(tensor.shape), to_string(spec.shape));
  }
  const bool ternary = spec.kind == WeightKind::Ternary;
  if (!can_be_read(tensor.type, ternary)) {
    fail("{}: the tensor '{}' is stored as {}; {} can be read", checkpoint.name(), spec.name, name_of(tensor.type),
         ternary ? "I8" : "F32, F16, BF16 and F64");
  }
  stored_[spec.name] = &tensor;
}

}  // namespace foretell::formats
