// The part of a config.json that describes a mixture of experts.
//
// Contract: as in model_config.h. Counts are bounded so that a hostile file cannot ask for a list of tensors that does
// not fit into memory.
#pragma once

#include <vector>

#include "framework/formats/model_config.h"
#include "framework/io/json.h"

namespace foretell::formats {

// What a family means where its file is silent.
struct ExpertDefaults {
  const char* count_key = "num_experts";
  int count = 0;
  int per_token = 0;
  int size = 0;                         // moe_intermediate_size; 0: the family has no such key
  int shared_size = 0;                  // shared_expert_intermediate_size, gated; 0: the family has none
  std::optional<bool> normalised = {};  // without it norm_topk_prob, false by default
  bool free_experts = false;            // whether foretell_zero_experts and its like are read
};

// Chosen by a softmax over all (mixtral, qwen2_moe, qwen3_moe, olmoe).
MoeConfig parse_experts(const io::JsonObject& json, const ModelConfig& config, const ExpertDefaults& defaults);

// mlp_only_layers and decoder_sparse_step.
std::vector<int> parse_dense_layers(const io::JsonObject& json, const ModelConfig& config);

// DeepSeek-V3's (DeepSeek-AI 2024, arXiv 2412.19437, section 2.1.2).
MoeConfig parse_grouped_experts(const io::JsonObject& json, const ModelConfig& config);

// The keys that these functions read back.
void write_experts(const ModelConfig& config, nlohmann::ordered_json& json);

}  // namespace foretell::formats
