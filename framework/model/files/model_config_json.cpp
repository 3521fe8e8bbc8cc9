// config.json written back out.
#include <nlohmann/json.hpp>

#include "framework/base/error.h"
#include "framework/model/files/atomic_file.h"
#include "framework/model/files/model_config.h"
#include "framework/model/files/rope_config.h"

namespace foretell {
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
  json["architectures"] = {"GPT2LMHeadModel"};
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

const char* architecture_name(const ModelConfig& config) {
  if (config.family == "qwen2") return "Qwen2ForCausalLM";
  return config.ternary ? "BitLlamaForCausalLM" : "LlamaForCausalLM";
}

void write_llama_like(const ModelConfig& config, nlohmann::ordered_json& json) {
  json["architectures"] = {architecture_name(config)};
  json["hidden_size"] = config.hidden_size;
  json["intermediate_size"] = config.intermediate_size;
  json["num_hidden_layers"] = config.num_layers;
  json["num_attention_heads"] = config.num_heads;
  json["num_key_value_heads"] = config.num_kv_heads;
  json["head_dim"] = config.head_dim;
  json["max_position_embeddings"] = config.context;
  json["rms_norm_eps"] = config.norm_eps;
  json["hidden_act"] = activation_name(config.activation);
  json["rope_parameters"] = rope_json(config.rope);
  if (config.rope.interleaved) json["rope_interleave"] = true;
  if (config.family == "qwen2") {
    json["use_sliding_window"] = false;
  } else if (!config.ternary) {
    json["attention_bias"] = config.qkv_bias;
    json["mlp_bias"] = config.mlp_bias;
  }
}

}  // namespace

std::string model_config_json(const ModelConfig& config) {
  nlohmann::ordered_json json;
  json["model_type"] = config.family;
  json["vocab_size"] = config.vocab_rows();
  if (config.padded_vocab) json["vocab_valid"] = config.vocab_size;
  if (config.inflated_from) json["inflated_from"] = *config.inflated_from;
  if (config.naming == WeightNaming::Gpt2) {
    write_gpt2(config, json);
  } else {
    write_llama_like(config, json);
  }
  json["tie_word_embeddings"] = config.tie_embeddings;
  json["bos_token_id"] = config.bos ? nlohmann::ordered_json(*config.bos) : nlohmann::ordered_json();
  json["eos_token_id"] = config.eos.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(config.eos);
  if (config.eos.size() == 1) json["eos_token_id"] = config.eos[0];
  if (config.dtype) json["dtype"] = *config.dtype;
  return json.dump(2) + "\n";
}

void write_model_config(const std::filesystem::path& folder, const ModelConfig& config) {
  make_folder(folder);
  write_file(folder / "config.json", model_config_json(config));
}

}  // namespace foretell
