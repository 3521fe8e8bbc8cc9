// config.json written back out.
#include <nlohmann/json.hpp>

#include "framework/core/error.h"
#include "framework/formats/model_families.h"
#include "framework/formats/moe_config.h"
#include "framework/formats/rope_config.h"
#include "framework/io/atomic_file.h"

namespace foretell::formats {
namespace {

const char* activation_name(Activation activation) {
  switch (activation) {
    case Activation::Silu: return "silu";
    case Activation::Gelu: return "gelu";
    case Activation::GeluTanh: return "gelu_new";
    case Activation::Relu: return "relu";
  }
  return "silu";
}

void write_gpt2(const ModelConfig& config, nlohmann::ordered_json& json) {
  json["n_embd"] = config.hidden_size;
  json["n_inner"] = config.intermediate_size;
  json["n_layer"] = config.num_layers;
  json["n_head"] = config.num_heads;
  json["n_positions"] = config.context;
  json["layer_norm_epsilon"] = config.norm_eps;
  json["activation_function"] = activation_name(config.activation);
  json["scale_attn_weights"] = config.attention_scaled;
  json["scale_attn_by_inverse_layer_idx"] = config.attention_scaled_by_layer;
}

void write_sizes(const ModelConfig& config, nlohmann::ordered_json& json) {
  json["hidden_size"] = config.hidden_size;
  json["intermediate_size"] = config.intermediate_size;
  json["num_hidden_layers"] = config.num_layers;
  json["num_attention_heads"] = config.num_heads;
  json["max_position_embeddings"] = config.context;
  json["hidden_act"] = activation_name(config.activation);
  json["rope_parameters"] = rope_json(config.rope);
  if (config.latent)
    json["rope_interleave"] = config.rope.interleaved;
  else if (config.rope.interleaved)
    json[kOwnInterleavedKey] = true;
}

void write_gpt_neox(const ModelConfig& config, nlohmann::ordered_json& json) {
  write_sizes(config, json);
  json["layer_norm_eps"] = config.norm_eps;
  json["attention_bias"] = config.qkv_bias;
  json["use_parallel_residual"] = config.parallel_residual;
  // Older readers know these names only.
  json["rotary_emb_base"] = config.rope.theta;
  json["rotary_pct"] = config.rope.partial;
}

void write_latent(const LatentConfig& latent, nlohmann::ordered_json& json) {
  json["q_lora_rank"] = latent.query_rank > 0 ? nlohmann::ordered_json(latent.query_rank) : nlohmann::ordered_json();
  json["kv_lora_rank"] = latent.kv_rank;
  json["qk_nope_head_dim"] = latent.plain_dim;
  json["qk_rope_head_dim"] = latent.rotary_dim;
  json["v_head_dim"] = latent.value_dim;
}

// Every family's own spelling of which layers have a window.
void write_windows(const ModelConfig& config, nlohmann::ordered_json& json) {
  const bool any = config.sliding_window > 0;
  const bool switched = config.family.starts_with("qwen");
  if (switched) json["use_sliding_window"] = any;
  if (any || config.family == "mistral")
    json["sliding_window"] = any ? nlohmann::ordered_json(config.sliding_window) : nlohmann::ordered_json();
  if (!any || !switched) return;
  for (int layer = 0; layer < config.num_layers; ++layer)
    json["layer_types"].push_back(config.is_windowed(layer) ? "sliding_attention" : "full_attention");
}

void write_llama_like(const ModelConfig& config, nlohmann::ordered_json& json) {
  write_sizes(config, json);
  json["num_key_value_heads"] = config.num_kv_heads;
  if (!config.latent) json["head_dim"] = config.head_dim;
  json["rms_norm_eps"] = config.norm_eps;
  if (config.naming == WeightNaming::Phi3 && config.rope.original_context > 0)
    json["original_max_position_embeddings"] = config.rope.original_context;
  write_windows(config, json);
  if (config.latent) write_latent(*config.latent, json);
  if (config.moe.experts > 0) write_experts(config, json);
  if (config.prediction_layers > 0) json["num_nextn_predict_layers"] = config.prediction_layers;
  if (config.qkv_limit) json["clip_qkv"] = *config.qkv_limit;
  if (config.family == "qwen2_moe") json["qkv_bias"] = config.qkv_bias;
  if (config.qkv_bias == config.output_bias && !config.ternary) json["attention_bias"] = config.qkv_bias;
  if (config.family == "llama") json["mlp_bias"] = config.mlp_bias;
}

}  // namespace

std::string model_config_json(const ModelConfig& config) {
  nlohmann::ordered_json json;
  json["model_type"] = config.family;
  json["vocab_size"] = config.vocab_rows();
  if (config.padded_vocab) json["vocab_valid"] = config.vocab_size;
  if (config.inflated_from) json["inflated_from"] = *config.inflated_from;
  const auto families = model_families();
  const auto family = std::ranges::find(families, config.family, &ModelFamily::name);
  if (family != families.end()) json["architectures"] = {family->architecture};
  switch (config.naming) {
    case WeightNaming::Gpt2: write_gpt2(config, json); break;
    case WeightNaming::GptNeoX: write_gpt_neox(config, json); break;
    default: write_llama_like(config, json);
  }
  json["tie_word_embeddings"] = config.tie_embeddings;
  json["bos_token_id"] = config.bos ? nlohmann::ordered_json(*config.bos) : nlohmann::ordered_json();
  json["eos_token_id"] = config.eos.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(config.eos);
  if (config.eos.size() == 1) json["eos_token_id"] = config.eos[0];
  if (config.dtype) json["dtype"] = *config.dtype;
  if (config.int4) json["quantization_config"] = int4_storage_json(*config.int4);
  return json.dump(2) + "\n";
}

void write_model_config(const std::filesystem::path& folder, const ModelConfig& config) {
  io::make_folder(folder);
  ModelConfig plain = config;
  plain.int4.reset();
  io::write_file(folder / "config.json", model_config_json(plain));
}

}  // namespace foretell::formats
