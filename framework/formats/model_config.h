// What a checkpoint's config.json says, in one structure for every family of decoder-only transformers.
//
// Contract: a plain value without LibTorch. Families differ in these fields only; nothing below this structure asks for
// a family's name. Every count is positive and every combination is one that the transformer can run:
// parse_model_config() refuses the rest with an Error that names the file and the key. Lengths are in tokens, widths in
// elements.
#pragma once

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/core/activation.h"
#include "framework/core/types.h"
#include "framework/formats/int4_weights.h"

namespace foretell::formats {

enum class NormKind { Rms, Layer };
enum class PositionKind { Rope, Learned };
// RMSNorm of queries and keys before they are rotated: of each head by itself, or of the whole projection.
enum class QkNorm { None, Head, Projection };
// How a checkpoint names and lays out its weights: weight_list.h has the names. Phi3 is Llama with the projections
// fused in the file.
enum class WeightNaming { Llama, Gpt2, GptNeoX, Phi3, Mixtral };

// Rotary embedding (Su et al. 2021, arXiv 2104.09864) and its published extensions for longer contexts.
struct RopeConfig {
  enum class Scaling { None, Linear, Llama3, Yarn, LongRope };
  double theta = 10000.0;
  double partial = 1.0;  // the share of head_dim that is rotated
  bool interleaved =
      false;  // true: adjacent pairs are rotated (llama2.c); false: first half with second half (Hugging Face)
  Scaling scaling = Scaling::None;
  double factor = 1.0;
  double low_freq_factor = 1.0;   // llama3
  double high_freq_factor = 4.0;  // llama3
  int original_context = 0;       // llama3, yarn, longrope: the context that the model was trained on
  double beta_fast = 32.0;        // yarn (Peng et al. 2023, arXiv 2309.00071)
  double beta_slow = 1.0;
  std::optional<double> attention_factor;  // yarn, longrope: absent means the papers' own function of factor
  std::optional<double> mscale, mscale_all_dim;
  bool truncate = true;  // yarn: whether the correction range is rounded to whole dimensions
  // longrope (Ding et al. 2024, arXiv 2402.13753): what each pair's frequency is divided by within the original
  // context, and beyond it. Keys are stored rotated, so one sequence cannot change from one to the other: `context`
  // ends with the original one, and only `short_factors` is used.
  std::vector<double> short_factors, long_factors;
  friend bool operator==(const RopeConfig&, const RopeConfig&) = default;
};

// The MLP as a mixture of experts (Shazeer et al. 2017, arXiv 1701.06538). No experts: every MLP is dense.
struct MoeConfig {
  enum class Score { Softmax, Sigmoid };
  int experts = 0;
  // Experts without matrices behind those (MoE++, Jin et al. 2024, arXiv 2410.07348): they give nothing, the row
  // itself, or a mix of the row and a learned vector.
  int zero = 0, copy = 0, constant = 0;
  int routed() const { return experts + zero + copy + constant; }  // that a row may be sent to
  int experts_per_token = 0;
  int expert_size = 0;        // intermediate width of one expert
  int shared_size = 0;        // of the expert that every token goes through; 0: there is none
  bool shared_gated = false;  // its output is multiplied with a sigmoid of its own
  Score score = Score::Softmax;
  bool selection_bias = false;  // added to the scores for the choice alone (Wang et al. 2024, arXiv 2408.15664)
  int groups = 1;               // the choice is first among groups of experts, by the sum of a group's two best scores
  int groups_kept = 1;
  bool normalised = false;        // the chosen experts' weights sum to one
  double scale = 1.0;             // what they are multiplied with afterwards
  std::vector<int> dense_layers;  // ascending
  friend bool operator==(const MoeConfig&, const MoeConfig&) = default;
};

// Attention whose keys and values are made from one low-rank row (MLA; DeepSeek-AI 2024, arXiv 2405.04434,
// section 2.1).
struct LatentConfig {
  int query_rank = 0;  // 0: queries are projected at once
  int kv_rank = 0;
  int plain_dim = 0;   // a head's elements that are not rotated; they stand first
  int rotary_dim = 0;  // those that are; of keys, all heads share them
  int value_dim = 0;
  friend bool operator==(const LatentConfig&, const LatentConfig&) = default;
};

struct ModelConfig {
  std::string family;  // config.json's model_type: for reports and for config.json only
  WeightNaming naming = WeightNaming::Llama;
  int vocab_size = 0;               // the ids that there are
  std::optional<int> padded_vocab;  // rows of embedding and head, if more than ids; in config.json that is vocab_size,
                                    // and vocab_valid the ids
  int hidden_size = 0;
  int num_layers = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;           // of queries and keys
  int intermediate_size = 0;  // of dense MLPs
  int context = 0;            // max_position_embeddings

  NormKind norm = NormKind::Rms;
  double norm_eps = 1e-5;
  Activation activation = Activation::Silu;
  bool gated_mlp = true;
  bool qkv_bias = false;
  bool output_bias = false;  // attention's output projection
  bool mlp_bias = false;
  bool sublayer_norms =
      true;  // a norm before attention and before the MLP; the last one, before the head, is always there
  bool ternary =
      false;  // the layers' matrices hold -1, 0 and 1 with one scale each, and round what they read: ternary.h
  bool tie_embeddings = false;
  bool attention_scaled = true;            // scores divided by sqrt(head_dim)
  bool attention_scaled_by_layer = false;  // gpt2's scale_attn_by_inverse_layer_idx
  std::optional<Int4Storage> int4 = {};    // the layers' matrices are stored with 4 bits (int4_weights.h)
  bool parallel_residual = false;          // attention and MLP read the same row
  QkNorm qk_norm = QkNorm::None;
  std::optional<double> qkv_limit;  // queries, keys and values are cut to [-limit, limit] (olmoe's clip_qkv)
  PositionKind position = PositionKind::Rope;
  RopeConfig rope;
  // A windowed layer's row at position p sees positions p - sliding_window + 1 to p; 0: no layer is windowed.
  int sliding_window = 0;
  std::vector<int> full_layers;  // those that see everything all the same, ascending
  std::optional<LatentConfig> latent;
  MoeConfig moe;
  int prediction_layers = 0;  // layers that files hold behind the last one, for training or drafting; they are not read

  std::optional<Token> bos;
  std::vector<Token> eos;  // generation_config.json's where there is one, else config.json's
  // What the checkpoint says that it is computed in: "float32", "float16", "bfloat16" or "float64"; absent if it does
  // not say.
  std::optional<std::string> dtype;

  // What small model this one is, if it was padded with zeros to a larger shape (inflate.h): its tokens are that one's,
  // its cost is its own.
  std::optional<std::string> inflated_from;

  int vocab_rows() const { return padded_vocab.value_or(vocab_size); }
  int group_size() const { return num_heads / num_kv_heads; }  // query heads that share one key head
  int value_dim() const { return latent ? latent->value_dim : head_dim; }
  // The elements of a head that are rotated.
  int rotary_dim() const { return latent ? latent->rotary_dim : static_cast<int>(head_dim * rope.partial); }
  bool is_windowed(int layer) const { return sliding_window > 0 && !std::ranges::binary_search(full_layers, layer); }
  bool is_sparse(int layer) const { return moe.experts > 0 && !std::ranges::binary_search(moe.dense_layers, layer); }
  friend bool operator==(const ModelConfig&, const ModelConfig&) = default;
};

// Of a folder: config.json, with the stop tokens of generation_config.json where that is there.
ModelConfig load_model_config(const std::filesystem::path& folder);

// Of the bytes of a config.json; `name` is what an Error calls them. An unknown architecture is an Error that lists the
// known ones.
ModelConfig parse_model_config(std::string_view json, const std::string& name);

// Overrides `config`'s first and stop tokens with those that a generation_config.json gives.
void apply_generation_config(std::string_view json, const std::string& name, ModelConfig& config);

// The config.json that parse_model_config() reads back as `config`, in Hugging Face's current spelling.
std::string model_config_json(const ModelConfig& config);
// As config.json of weights that are stored as they are: not with 4 bits.
void write_model_config(const std::filesystem::path& folder, const ModelConfig& config);

// The architectures that can be loaded: "llama", "qwen2", ...
std::vector<std::string> known_model_families();

}  // namespace foretell::formats
