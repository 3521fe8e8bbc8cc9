// The rules of LLM-Viewer (Yuan et al. 2024, arXiv 2402.16363; hahnyuan/LLM-Viewer at 472f71f, configs/Llama.py), with
// a switch for each place where they differ from what a device does.
//
// Contract: with every quirk on (the default), numbers are LLM-Viewer's own; with all of them off they are those of
// forward_operators.h for the models that both describe. Known are decoder-only models with a gated MLP; mixtures of
// experts and latent attention are an Error. Windows are not looked at.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "framework/cost/operators/operator_cost.h"
#include "framework/formats/model_config.h"

namespace foretell::cost::operators {

struct LlmViewerQuirks {
  bool fused_output_is_square = true;      // fused attention stores a number for each pair of tokens, and twice
  bool fused_cache_ignores_groups = true;  // it reads keys and values once for each query head
  bool prefill_query_of_kv_heads = true;   // qk_matmul of a prefill loads as many queries as there are keys
  bool activation_of_hidden_size = true;   // mlp_act is as wide as the residual stream, and does two operations
  bool head_one_operation = true;          // a multiplication and an addition of the head are one operation
  bool head_activations_of_one = true;     // the head's activations are those of one sequence
  bool attends_to_the_future = true;       // no causal mask in a prefill
  bool decode_without_new_token = true;    // a step after S tokens attends to S tokens, not S + 1
  bool norm_of_seven = true;               // an RMSNorm does the seven operations of a LayerNorm
  bool addition_of_one = true;             // a residual addition loads one of its two summands
  bool no_small_operators = true;          // no embedding, RoPE or last norm; norms without weights
  bool no_scales = true;                   // quantised weights have no scales and need no conversion; so is the head
  bool head_size_of_hidden = true;         // head_dim is hidden_size / heads, whatever the config says
  bool integers_only_throughout = true;    // int8 peaks only if weights, activations and cache all have 8 bits
  bool memory_of_layers = true;            // no embedding and head in memory; activations of a whole layer at once
  bool one_step_too_many = true;           // G tokens are G steps after the prefill, which gives one as well
};

struct QuirkName {
  std::string_view name;
  bool LlmViewerQuirks::*field;
  std::string_view doc;
};
std::span<const QuirkName> llm_viewer_quirks();

struct LlmViewerCase {
  double batch = 1, tokens = 1;  // LLM-Viewer's batchsize and seqlen
  Precision precision = {};
  bool fused = false;  // FlashAttention
};

enum class Stage { Prefill, Decode };

// `tokens` are those of the prompt, or of the cache.
ForwardOperators llm_viewer_forward(const formats::ModelConfig& config, const Hardware& hardware, Stage stage,
                                    const LlmViewerCase& of, const LlmViewerQuirks& quirks = {});
// [s] of a prompt and so many generated tokens.
double llm_viewer_generation(const formats::ModelConfig& config, const Hardware& hardware, int prompt, int output,
                             const LlmViewerCase& of, const LlmViewerQuirks& quirks = {});

}  // namespace foretell::cost::operators
