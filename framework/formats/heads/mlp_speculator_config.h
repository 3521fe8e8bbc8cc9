// config.json of an MLP speculator (Wertheimer et al. 2024, arXiv 2404.19124), as fms-extras and vLLM read it.
//
// Contract: a plain value; what is missing or out of range is an Error of one line that names file and key. Torch-free.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace foretell::formats::heads {

struct MlpSpeculatorConfig {
  int predict = 3;            // n_predict: tokens of a draft
  int hidden = 0;             // emb_dim: of the target's states
  int inner = 0;              // inner_dim, where that is 0 emb_dim
  int vocab = 0;              // vocab_size
  bool tied = false;          // tie_weights: all steps have one embedding, norm and output, and all but the first one
                              // projection
  bool scaled_input = false;  // scale_input: the state is normed and divided by sqrt(2) first
};

MlpSpeculatorConfig parse_mlp_speculator_config(std::string_view json, const std::string& name);
MlpSpeculatorConfig load_mlp_speculator_config(const std::filesystem::path& folder);
std::string mlp_speculator_config_json(const MlpSpeculatorConfig& config);

}  // namespace foretell::formats::heads
