// What a checkpoint's config.json says, in one structure for every family of decoder-only transformers.
//
// Contract: a plain value without LibTorch. Families differ in these fields only; nothing below this structure asks for a family's name.
// Every count is positive and every combination is one that the transformer can run: parse_model_config() refuses the rest with an Error that
// names the file and the key. Lengths are in tokens, widths in elements.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/base/types.h"

namespace foretell {

enum class NormKind { Rms, Layer };
enum class Activation { Silu, Gelu, GeluTanh, Relu };
enum class PositionKind { Rope, Learned };

// Rotary embedding (Su et al. 2021, arXiv 2104.09864) and its published extensions for longer contexts.
struct RopeConfig {
  enum class Scaling { None, Linear, Llama3, Yarn };
  double theta = 10000.0;
  double partial = 1.0;         // the share of head_dim that is rotated
  bool interleaved = false;     // true: adjacent pairs are rotated (llama2.c); false: first half with second half (Hugging Face)
  Scaling scaling = Scaling::None;
  double factor = 1.0;
  double low_freq_factor = 1.0;   // llama3
  double high_freq_factor = 4.0;  // llama3
  int original_context = 0;       // llama3, yarn: the context that the model was trained on
  double beta_fast = 32.0;        // yarn (Peng et al. 2023, arXiv 2309.00071)
  double beta_slow = 1.0;
  std::optional<double> attention_factor;  // yarn: absent means the paper's 0.1 ln(factor) + 1
  std::optional<double> mscale, mscale_all_dim;
  bool truncate = true;  // yarn: whether the correction range is rounded to whole dimensions
};

struct ModelConfig {
  std::string family;  // "llama", "qwen2", "gpt2": for reports only
  int vocab_size = 0;
  int hidden_size = 0;
  int num_layers = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int intermediate_size = 0;
  int context = 0;  // max_position_embeddings

  NormKind norm = NormKind::Rms;
  double norm_eps = 1e-5;
  Activation activation = Activation::Silu;
  bool gated_mlp = true;
  bool qkv_bias = false;
  bool output_bias = false;  // attention's output projection
  bool mlp_bias = false;
  bool tie_embeddings = false;
  bool attention_scaled = true;               // scores divided by sqrt(head_dim)
  bool attention_scaled_by_layer = false;     // gpt2's scale_attn_by_inverse_layer_idx
  PositionKind position = PositionKind::Rope;
  RopeConfig rope;

  std::optional<Token> bos;
  std::vector<Token> eos;             // generation_config.json's where there is one, else config.json's
  std::string dtype = "float32";      // what the checkpoint says that its weights are
};

}  // namespace foretell
