// Which tensors a checkpoint of a given config holds: the one place that knows names and shapes.
//
// Contract: names are those of Hugging Face's *ForCausalLM classes; the leading "model.", "transformer." or "gpt_neox."
// is optional in files. Shapes are as stored: GPT-2 keeps its matrices as [input, output], all others as [output,
// input]. Torch-free.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "framework/formats/model_config.h"

namespace foretell::formats {

enum class WeightKind { Matrix, Embedding, Gain, Bias, Ternary, TernaryScale };

struct WeightSpec {
  std::string name;
  std::vector<std::int64_t> shape;
  WeightKind kind = WeightKind::Matrix;
  std::int64_t inputs =
      0;  // of a matrix, its scale or an embedding: the width that is summed over when it is used as a matrix
};

std::vector<WeightSpec> weight_list(const ModelConfig& config);

// "model.layers.3.self_attn.q_proj.weight" of (3, "self_attn.q_proj.weight").
std::string layer_weight_name(WeightNaming naming, int layer, std::string_view part);

struct WeightNames {
  const char* prefix;      // that files may leave out: "model.", "transformer."
  const char* layers;      // "layers" or "h"
  const char* embedding;   // in full
  const char* final_norm;  // its stem
  const char* head;
};
WeightNames weight_names(WeightNaming naming);

// Of a layer's mixture of experts.
struct ExpertNames {
  const char* block;
  const char* gate;
  const char* up;
  const char* down;
};
ExpertNames expert_names(WeightNaming naming);

// What a file may hold beside weight_list() without being used, family by family. Everything else that is there and not
// used is an error: it means that the config does not describe the file.
struct IgnoredWeights {
  const char* suffix;  // that the names end with, at a dot
  const char* why;
};
std::span<const IgnoredWeights> ignored_weights(WeightNaming naming);
// By these lists, or as a weight of a layer behind the last one (prediction_layers).
bool is_ignorable_weight(const ModelConfig& config, std::string_view name);

}  // namespace foretell::formats
