#include "framework/model/files/weight_list.h"

#include <fmt/format.h>

namespace foretell {
namespace {

class List {
 public:
  void gain(std::string name, std::int64_t width) { specs_.push_back({std::move(name), {width}, WeightKind::Gain, 0}); }
  void bias(std::string name, std::int64_t width) { specs_.push_back({std::move(name), {width}, WeightKind::Bias, 0}); }
  void embedding(std::string name, std::int64_t rows, std::int64_t width) {
    specs_.push_back({std::move(name), {rows, width}, WeightKind::Embedding, width});
  }
  // A linear layer "<stem>.weight" and, if it has one, "<stem>.bias".
  void linear(const std::string& stem, std::int64_t out, std::int64_t in, bool with_bias) {
    specs_.push_back({stem + ".weight", {out, in}, WeightKind::Matrix, in});
    if (with_bias) bias(stem + ".bias", out);
  }
  // "<stem>.weight" of -1, 0 and 1, and the one number that it is multiplied with.
  void ternary(const std::string& stem, std::int64_t out, std::int64_t in) {
    specs_.push_back({stem + ".weight", {out, in}, WeightKind::Ternary, in});
    specs_.push_back({stem + ".weight_scale", {1}, WeightKind::TernaryScale, in});
  }
  void transposed_linear(const std::string& stem, std::int64_t out, std::int64_t in) {
    specs_.push_back({stem + ".weight", {in, out}, WeightKind::Matrix, in});
    bias(stem + ".bias", out);
  }
  void layer_norm(const std::string& stem, std::int64_t width) {
    gain(stem + ".weight", width);
    bias(stem + ".bias", width);
  }
  std::vector<WeightSpec> take() { return std::move(specs_); }

 private:
  std::vector<WeightSpec> specs_;
};

void add_llama_layer(const ModelConfig& c, const std::string& stem, List& list) {
  const std::int64_t query = std::int64_t{c.num_heads} * c.head_dim;
  const std::int64_t key = std::int64_t{c.num_kv_heads} * c.head_dim;
  const auto linear = [&](const char* part, std::int64_t out, std::int64_t in, bool with_bias) {
    c.ternary ? list.ternary(stem + part, out, in) : list.linear(stem + part, out, in, with_bias);
  };
  if (c.sublayer_norms) list.gain(stem + "input_layernorm.weight", c.hidden_size);
  linear("self_attn.q_proj", query, c.hidden_size, c.qkv_bias);
  linear("self_attn.k_proj", key, c.hidden_size, c.qkv_bias);
  linear("self_attn.v_proj", key, c.hidden_size, c.qkv_bias);
  linear("self_attn.o_proj", c.hidden_size, query, c.output_bias);
  if (c.sublayer_norms) list.gain(stem + "post_attention_layernorm.weight", c.hidden_size);
  linear("mlp.gate_proj", c.intermediate_size, c.hidden_size, c.mlp_bias);
  linear("mlp.up_proj", c.intermediate_size, c.hidden_size, c.mlp_bias);
  linear("mlp.down_proj", c.hidden_size, c.intermediate_size, c.mlp_bias);
}

void add_gpt2_layer(const ModelConfig& c, const std::string& stem, List& list) {
  list.layer_norm(stem + "ln_1", c.hidden_size);
  list.transposed_linear(stem + "attn.c_attn", 3 * std::int64_t{c.hidden_size}, c.hidden_size);
  list.transposed_linear(stem + "attn.c_proj", c.hidden_size, c.hidden_size);
  list.layer_norm(stem + "ln_2", c.hidden_size);
  list.transposed_linear(stem + "mlp.c_fc", c.intermediate_size, c.hidden_size);
  list.transposed_linear(stem + "mlp.c_proj", c.hidden_size, c.intermediate_size);
}

std::string without_prefix(const ModelConfig& config, std::string_view name) {
  const std::string_view prefix = weight_prefix(config.naming);
  return std::string(name.starts_with(prefix) ? name.substr(prefix.size()) : name);
}

}  // namespace

std::string_view weight_prefix(WeightNaming naming) { return naming == WeightNaming::Gpt2 ? "transformer." : "model."; }

std::string layer_weight_name(WeightNaming naming, int layer, std::string_view part) {
  return fmt::format("{}{}.{}.{}", weight_prefix(naming), naming == WeightNaming::Gpt2 ? "h" : "layers", layer, part);
}

std::vector<WeightSpec> weight_list(const ModelConfig& config) {
  List list;
  const bool gpt2 = config.naming == WeightNaming::Gpt2;
  list.embedding(gpt2 ? "transformer.wte.weight" : "model.embed_tokens.weight", config.vocab_rows(), config.hidden_size);
  if (gpt2) list.embedding("transformer.wpe.weight", config.context, config.hidden_size);
  for (int layer = 0; layer < config.num_layers; ++layer) {
    const std::string stem = layer_weight_name(config.naming, layer, "");
    gpt2 ? add_gpt2_layer(config, stem, list) : add_llama_layer(config, stem, list);
  }
  if (gpt2) {
    list.layer_norm("transformer.ln_f", config.hidden_size);
  } else {
    list.gain("model.norm.weight", config.hidden_size);
  }
  if (!config.tie_embeddings) list.embedding("lm_head.weight", config.vocab_rows(), config.hidden_size);
  return list.take();
}

bool is_ignorable_weight(const ModelConfig& config, std::string_view name) {
  if (name == "lm_head.weight") return config.tie_embeddings;
  if (name.ends_with(".rotary_emb.inv_freq")) return true;
  if (config.naming == WeightNaming::Gpt2 && (name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias"))) return true;
  const std::string plain = without_prefix(config, name);
  const bool part_of_model = plain.starts_with("layers.") || plain.starts_with("h.") || plain.starts_with("embed") ||
                             plain.starts_with("lm_head") || plain.starts_with("norm") || name.starts_with(weight_prefix(config.naming));
  return !part_of_model;
}

}  // namespace foretell
