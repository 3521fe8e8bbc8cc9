// Which keys of config.json each family reads, and which it does not, as Transformers 5.5.4 does: every entry was
// measured there, by logits (tests/bench/families_against_transformers.py). docs/reference/models.md has the table.
#include <algorithm>
#include <sstream>

#include "framework/core/error.h"
#include "framework/formats/model_config.h"
#include "tests/model/helpers.h"
#include "tests/support/catch.h"

namespace foretell {
namespace {

// Families by name, separated by spaces. What is in neither list leaves the key aside.
struct Key {
  const char* json;
  const char* read = "";
  const char* refused = "";
};

constexpr const char* kAll =
    "llama mistral qwen2 qwen3 phi3 gpt2 gpt_neox mixtral qwen2_moe qwen3_moe olmoe deepseek_v3";
constexpr const char* kRotary = "llama mistral qwen2 qwen3 phi3 gpt_neox mixtral qwen2_moe qwen3_moe olmoe deepseek_v3";
constexpr const char* kRms = "llama mistral qwen2 qwen3 phi3 mixtral qwen2_moe qwen3_moe olmoe deepseek_v3";
constexpr const char* kNotPhi = "llama mistral qwen2 qwen3 gpt_neox mixtral qwen2_moe qwen3_moe olmoe deepseek_v3";
constexpr const char* kWhole =
    "llama mistral qwen2 qwen3 mixtral qwen2_moe qwen3_moe olmoe deepseek_v3";  // whole heads are rotated
constexpr const char* kExperts = "mixtral qwen2_moe qwen3_moe olmoe deepseek_v3";

const std::vector<Key> kKeys = {
    // Rotary positions
    {R"("rope_theta": 500)", kRms},
    {R"("rope_parameters": {"rope_type": "default", "rope_theta": 500})", kRotary},
    {R"("rotary_emb_base": 500)", "gpt_neox"},
    {R"("rotary_pct": 0.25)", "gpt_neox"},
    {R"("partial_rotary_factor": 0.5)", "phi3"},
    {R"("rope_parameters": {"partial_rotary_factor": 0.25})", "phi3 gpt_neox"},
    {R"("rope_scaling": {"type": "linear", "factor": 2.0})", kNotPhi, "phi3"},
    {R"("rope_scaling": {"rope_type": "llama3", "factor": 2.0})", kNotPhi, "phi3"},
    {R"("rope_scaling": {"rope_type": "yarn", "factor": 2.0})", kNotPhi, "phi3"},
    {R"("rope_scaling": {"type": "dynamic", "factor": 2.0})", "", kRotary},
    {R"("rope_scaling": {"type": "linear", "factor": 2.0}, "rope_parameters": {"rope_theta": 500})", "", kRotary},
    {R"("rope_scaling": {"type": "linear", "factor": 2.0}, "partial_rotary_factor": 0.25)", "", kRotary},
    {R"("rope_interleave": true)", "", "llama mistral qwen2 qwen3 phi3 gpt_neox mixtral qwen2_moe qwen3_moe olmoe"},
    {R"("rope_interleave": false)", "deepseek_v3"},
    {R"("rope_interleaved": true)"},
    {R"("rotary_dim": 4)"},
    {R"("no_rope_layers": [0, 1, 0])"},
    {R"("position_embedding_type": "alibi")"},
    // Attention
    {R"("head_dim": 16)", "llama mistral qwen2 qwen3 phi3 mixtral qwen2_moe qwen3_moe", "olmoe gpt_neox"},
    {R"("attention_bias": true)", "llama qwen3 qwen3_moe olmoe deepseek_v3"},
    {R"("attention_bias": false)", "gpt_neox"},
    {R"("qkv_bias": false)", "qwen2_moe"},
    {R"("attention_out_bias": true)"},
    {R"("sliding_window": 5)", "mistral phi3 mixtral"},
    {R"("sliding_window": 0)", "", "mistral phi3 mixtral"},
    {R"("sliding_window": null)", "mistral"},
    {R"("use_sliding_window": true, "max_window_layers": 0)", "qwen2 qwen3 qwen3_moe"},
    {R"("use_sliding_window": true, "max_window_layers": 3)", "qwen2_moe qwen3_moe"},
    {R"("use_sliding_window": true, "sliding_window": 0)", "", "mistral phi3 mixtral qwen2 qwen3 qwen2_moe qwen3_moe"},
    {R"("use_sliding_window": true, "layer_types": ["full_attention", "sliding_attention", "full_attention"])",
     "qwen2 qwen3 qwen2_moe", "mistral phi3 mixtral qwen3_moe"},
    {R"("sliding_window_pattern": 2)"},
    {R"("attention_chunk_size": 5)"},
    {R"("qk_layernorm": true, "use_qk_norm": true)"},
    {R"("clip_qkv": 0.5)", "olmoe"},
    {R"("attn_logit_softcapping": 0.5, "query_pre_attn_scalar": 3, "attention_multiplier": 2.0)"},
    {R"("attention_dropout": 0.1)"},
    {R"("scale_attn_weights": false)", "gpt2"},
    {R"("scale_attn_by_inverse_layer_idx": true)", "gpt2"},
    {R"("is_causal": false)", "", kAll},
    // MLP and norms
    {R"("mlp_bias": true)", "llama"},
    {R"("use_bias": true)"},
    {R"("hidden_act": "relu")", kRotary},
    {R"("hidden_act": "quick_gelu")", "", kRotary},
    {R"("activation_function": "relu")", "gpt2"},
    {R"("hidden_activation": "relu")"},
    {R"("n_inner": 33)", "gpt2"},
    {R"("rms_norm_eps": 0.3)", kRms},
    {R"("layer_norm_eps": 0.3)", "gpt_neox"},
    {R"("layer_norm_epsilon": 0.3)", "gpt2"},
    {R"("norm_eps": 0.3)"},
    {R"("use_parallel_residual": false)", "gpt_neox"},
    {R"("parallel_attn": true)"},
    // Embedding and logits
    {R"("tie_word_embeddings": true)", kRotary},
    {R"("tie_word_embeddings": false)", "gpt2"},
    {R"("logits_scaling": 3.0, "logit_scale": 3.0, "final_logit_softcapping": 1.0)"},
    {R"("embedding_multiplier": 3.0, "residual_multiplier": 0.3, "scale_emb": 3.0, "scale_depth": 1.4)"},
    // Experts
    {R"("num_experts_per_tok": 1)", kExperts},
    {R"("num_local_experts": 16)", "mixtral qwen3_moe olmoe deepseek_v3"},
    {R"("num_experts": 4)", "mixtral qwen2_moe qwen3_moe olmoe"},
    {R"("n_routed_experts": 8)", "deepseek_v3"},
    {R"("n_ctx": 50)"},
    {R"("router_jitter_noise": 0.5)"},
    {R"("decoder_sparse_step": 3)", "qwen2_moe qwen3_moe"},
    {R"("mlp_only_layers": [0, 1])", "qwen2_moe qwen3_moe"},
    {R"("shared_expert_intermediate_size": 12)", "qwen2_moe"},
    {R"("routed_scaling_factor": 0.7)", "deepseek_v3"},
    {R"("n_group": 1, "topk_group": 1)", "deepseek_v3"},
    {R"("n_shared_experts": 1)", "deepseek_v3"},
    {R"("first_k_dense_replace": 2)", "deepseek_v3"},
    {R"("scoring_func": "softmax")", "", "deepseek_v3"},
    {R"("topk_method": "greedy")", "", "deepseek_v3"},
    {R"("moe_layer_freq": 2)", "", "deepseek_v3"},
    {R"("q_lora_rank": null)", "deepseek_v3"},
    // Others
    {R"("pretraining_tp": 2, "use_cache": false)"},
};

bool holds(const std::string& families, const std::string& family) {
  std::istringstream words(families);
  for (std::string word; words >> word;)
    if (word == family) return true;
  return false;
}

std::string outcome(const std::string& family, const char* key) {
  try {
    const ModelConfig with = parse_model_config(testing::small_config(family, key), "config.json");
    return with == parse_model_config(testing::small_config(family), "config.json") ? "left aside" : "read";
  } catch (const Error& error) {
    return std::string("refused");
  }
}

TEST_CASE(
    "every family reads the keys that Transformers' class reads, leaves aside what that one does, and says what it "
    "cannot run") {
  for (const Key& key : kKeys)
    for (const std::string& family : known_model_families()) {
      if (family == "bitllama") continue;  // our own
      INFO(family << ": " << key.json);
      CHECK(outcome(family, key.json) == (holds(key.read, family)      ? "read"
                                          : holds(key.refused, family) ? "refused"
                                                                       : "left aside"));
    }
}

TEST_CASE("another name that Transformers gives a key is read, and counts where both are there") {
  const auto config = [](const std::string& family, const char* more) {
    return parse_model_config(testing::small_config(family, more), "config.json");
  };
  const auto experts = [&](const std::string& family, const char* more) { return config(family, more).moe.experts; };
  CHECK(experts("mixtral", R"("num_local_experts": null, "num_experts": 4)") == 4);
  CHECK(experts("mixtral", R"("num_local_experts": 6, "num_experts": 4)") == 4);
  for (const char* family : {"qwen3_moe", "olmoe"}) {
    CHECK(experts(family, R"("num_experts": null, "num_local_experts": 4)") == 4);
    CHECK(experts(family, R"("num_experts": 6, "num_local_experts": 4)") == 4);
  }
  CHECK(experts("deepseek_v3", R"("n_routed_experts": null, "num_local_experts": 16)") == 16);
  CHECK(experts("deepseek_v3", R"("n_routed_experts": 8, "num_local_experts": 16)") == 16);
  CHECK(experts("qwen2_moe", R"("num_experts": 6, "num_local_experts": 4)") == 6);
  const ModelConfig gpt2 = config(
      "gpt2", R"("hidden_size": 60, "num_attention_heads": 6, "num_hidden_layers": 2, "max_position_embeddings": 33)");
  CHECK((gpt2.hidden_size == 60 && gpt2.num_heads == 6 && gpt2.num_layers == 2 && gpt2.context == 33));
  CHECK_THROWS_WITH(config("mixtral", R"("num_experts": 0)"), Catch::Matchers::Contains("'num_experts' is 0"));
  CHECK_THROWS_WITH(config("deepseek_v3", R"("num_local_experts": "x")"),
                    Catch::Matchers::Contains("'num_local_experts' is"));
}

TEST_CASE("a case: llama with a partial rotary factor rotates whole heads") {
  const ModelConfig config =
      parse_model_config(testing::small_config("llama", R"("partial_rotary_factor": 0.5)"), "config.json");
  CHECK(config.rotary_dim() == config.head_dim);
}

}  // namespace
}  // namespace foretell
