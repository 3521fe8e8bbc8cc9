#include "framework/formats/weight_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

namespace foretell::formats {
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

void add_attention(const ModelConfig& c, const std::string& stem, List& list) {
  const std::int64_t query = std::int64_t{c.num_heads} * c.head_dim;
  const std::int64_t key = std::int64_t{c.num_kv_heads} * c.head_dim;
  const auto linear = [&](const char* part, std::int64_t out, std::int64_t in, bool with_bias) {
    c.ternary ? list.ternary(stem + part, out, in) : list.linear(stem + part, out, in, with_bias);
  };
  if (c.naming == WeightNaming::Phi3) {
    linear("qkv_proj", query + 2 * key, c.hidden_size, c.qkv_bias);
  } else {
    linear("q_proj", query, c.hidden_size, c.qkv_bias);
    linear("k_proj", key, c.hidden_size, c.qkv_bias);
    linear("v_proj", key, c.hidden_size, c.qkv_bias);
  }
  linear("o_proj", c.hidden_size, query, c.output_bias);
  if (c.qk_norm == QkNorm::None) return;
  list.gain(stem + "q_norm.weight", c.qk_norm == QkNorm::Head ? c.head_dim : query);
  list.gain(stem + "k_norm.weight", c.qk_norm == QkNorm::Head ? c.head_dim : key);
}

void add_latent_attention(const ModelConfig& c, const std::string& stem, List& list) {
  const LatentConfig& latent = *c.latent;
  const std::int64_t query = std::int64_t{c.num_heads} * c.head_dim;
  if (latent.query_rank > 0) {
    list.linear(stem + "q_a_proj", latent.query_rank, c.hidden_size, c.qkv_bias);
    list.gain(stem + "q_a_layernorm.weight", latent.query_rank);
    list.linear(stem + "q_b_proj", query, latent.query_rank, false);
  } else {
    list.linear(stem + "q_proj", query, c.hidden_size, false);
  }
  list.linear(stem + "kv_a_proj_with_mqa", latent.kv_rank + latent.rotary_dim, c.hidden_size, c.qkv_bias);
  list.gain(stem + "kv_a_layernorm.weight", latent.kv_rank);
  list.linear(stem + "kv_b_proj", std::int64_t{c.num_heads} * (latent.plain_dim + latent.value_dim), latent.kv_rank,
              false);
  list.linear(stem + "o_proj", c.hidden_size, std::int64_t{c.num_heads} * latent.value_dim, c.output_bias);
}

// A gated MLP of the given width.
void add_gated(const ModelConfig& c, const std::string& stem, std::int64_t width, List& list) {
  const auto linear = [&](const char* part, std::int64_t out, std::int64_t in) {
    c.ternary ? list.ternary(stem + part, out, in) : list.linear(stem + part, out, in, c.mlp_bias);
  };
  if (c.naming == WeightNaming::Phi3) {
    linear("gate_up_proj", 2 * width, c.hidden_size);
  } else {
    linear("gate_proj", width, c.hidden_size);
    linear("up_proj", width, c.hidden_size);
  }
  linear("down_proj", c.hidden_size, width);
}

void add_experts(const ModelConfig& c, const std::string& stem, List& list) {
  const ExpertNames names = expert_names(c.naming);
  const std::string block = stem + names.block;
  list.linear(block + "gate", c.moe.routed(), c.hidden_size, false);
  if (c.moe.selection_bias) list.bias(block + "gate.e_score_correction_bias", c.moe.routed());
  for (int expert = 0; expert < c.moe.experts; ++expert) {
    const std::string one = fmt::format("{}experts.{}.", block, expert);
    list.linear(one + names.gate, c.moe.expert_size, c.hidden_size, false);
    list.linear(one + names.up, c.moe.expert_size, c.hidden_size, false);
    list.linear(one + names.down, c.hidden_size, c.moe.expert_size, false);
  }
  for (int i = 0; i < c.moe.constant; ++i) {
    list.linear(fmt::format("{}constant_experts.{}.mix", block, i), 2, c.hidden_size, false);
    list.linear(fmt::format("{}constant_experts.{}.value", block, i), 1, c.hidden_size, false);
  }
  if (c.moe.shared_size == 0) return;
  add_gated(c, block + (c.moe.shared_gated ? "shared_expert." : "shared_experts."), c.moe.shared_size, list);
  if (c.moe.shared_gated) list.linear(block + "shared_expert_gate", 1, c.hidden_size, false);
}

void add_llama_layer(const ModelConfig& c, int layer, const std::string& stem, List& list) {
  if (c.sublayer_norms) list.gain(stem + "input_layernorm.weight", c.hidden_size);
  c.latent ? add_latent_attention(c, stem + "self_attn.", list) : add_attention(c, stem + "self_attn.", list);
  if (c.sublayer_norms) list.gain(stem + "post_attention_layernorm.weight", c.hidden_size);
  c.is_sparse(layer) ? add_experts(c, stem, list) : add_gated(c, stem + "mlp.", c.intermediate_size, list);
}

void add_gpt_neox_layer(const ModelConfig& c, const std::string& stem, List& list) {
  list.layer_norm(stem + "input_layernorm", c.hidden_size);
  list.linear(stem + "attention.query_key_value", 3 * std::int64_t{c.hidden_size}, c.hidden_size, c.qkv_bias);
  list.linear(stem + "attention.dense", c.hidden_size, c.hidden_size, c.output_bias);
  list.layer_norm(stem + "post_attention_layernorm", c.hidden_size);
  list.linear(stem + "mlp.dense_h_to_4h", c.intermediate_size, c.hidden_size, c.mlp_bias);
  list.linear(stem + "mlp.dense_4h_to_h", c.hidden_size, c.intermediate_size, c.mlp_bias);
}

void add_gpt2_layer(const ModelConfig& c, const std::string& stem, List& list) {
  list.layer_norm(stem + "ln_1", c.hidden_size);
  list.transposed_linear(stem + "attn.c_attn", 3 * std::int64_t{c.hidden_size}, c.hidden_size);
  list.transposed_linear(stem + "attn.c_proj", c.hidden_size, c.hidden_size);
  list.layer_norm(stem + "ln_2", c.hidden_size);
  list.transposed_linear(stem + "mlp.c_fc", c.intermediate_size, c.hidden_size);
  list.transposed_linear(stem + "mlp.c_proj", c.hidden_size, c.intermediate_size);
}

std::string_view without_prefix(const ModelConfig& config, std::string_view name) {
  const std::string_view prefix = weight_names(config.naming).prefix;
  return name.starts_with(prefix) ? name.substr(prefix.size()) : name;
}

// Of "layers.61.eh_proj.weight" 61; nothing if the name is not that of a layer's tensor.
std::optional<int> layer_of(std::string_view layers, std::string_view plain) {
  if (!plain.starts_with(layers) || plain.size() <= layers.size() || plain[layers.size()] != '.') return std::nullopt;
  const std::string_view number =
      plain.substr(layers.size() + 1, plain.find('.', layers.size() + 1) - layers.size() - 1);
  int layer = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), layer);
  return error == std::errc() && end == number.data() + number.size() ? std::optional(layer) : std::nullopt;
}

}  // namespace

WeightNames weight_names(WeightNaming naming) {
  switch (naming) {
    case WeightNaming::Gpt2:
      return {"transformer.", "h", "transformer.wte.weight", "transformer.ln_f", "lm_head.weight"};
    case WeightNaming::GptNeoX:
      return {"gpt_neox.", "layers", "gpt_neox.embed_in.weight", "gpt_neox.final_layer_norm", "embed_out.weight"};
    default: return {"model.", "layers", "model.embed_tokens.weight", "model.norm", "lm_head.weight"};
  }
}

ExpertNames expert_names(WeightNaming naming) {
  if (naming == WeightNaming::Mixtral) return {"block_sparse_moe.", "w1", "w3", "w2"};
  return {"mlp.", "gate_proj", "up_proj", "down_proj"};
}

std::string layer_weight_name(WeightNaming naming, int layer, std::string_view part) {
  const WeightNames names = weight_names(naming);
  return fmt::format("{}{}.{}.{}", names.prefix, names.layers, layer, part);
}

std::vector<WeightSpec> weight_list(const ModelConfig& config) {
  List list;
  const WeightNames names = weight_names(config.naming);
  list.embedding(names.embedding, config.vocab_rows(), config.hidden_size);
  if (config.position == PositionKind::Learned)
    list.embedding("transformer.wpe.weight", config.context, config.hidden_size);
  for (int layer = 0; layer < config.num_layers; ++layer) {
    const std::string stem = layer_weight_name(config.naming, layer, "");
    switch (config.naming) {
      case WeightNaming::Gpt2: add_gpt2_layer(config, stem, list); break;
      case WeightNaming::GptNeoX: add_gpt_neox_layer(config, stem, list); break;
      default: add_llama_layer(config, layer, stem, list);
    }
  }
  if (config.norm == NormKind::Layer) {
    list.layer_norm(names.final_norm, config.hidden_size);
  } else {
    list.gain(std::string(names.final_norm) + ".weight", config.hidden_size);
  }
  if (!config.tie_embeddings) list.embedding(names.head, config.vocab_rows(), config.hidden_size);
  return list.take();
}

std::span<const IgnoredWeights> ignored_weights(WeightNaming naming) {
  // Buffers that old exports stored; Transformers computes them. Its own lists are each class's
  // _keys_to_ignore_on_load_unexpected.
  static constexpr std::array kRotary = {IgnoredWeights{"rotary_emb.inv_freq", "frequencies of the rotary positions"},
                                         IgnoredWeights{"rotary_emb.cos_cached", "their table"},
                                         IgnoredWeights{"rotary_emb.sin_cached", "their table"}};
  static constexpr std::array kGpt2 = {IgnoredWeights{"attn.bias", "the causal mask"},
                                       IgnoredWeights{"attn.masked_bias", "what the mask puts in place of a score"}};
  static constexpr std::array kGptNeoX = {
      kRotary[0], kRotary[1], kRotary[2], IgnoredWeights{"attention.bias", "the causal mask"},
      IgnoredWeights{"attention.masked_bias", "what the mask puts in place of a score"}};
  switch (naming) {
    case WeightNaming::Gpt2: return kGpt2;
    case WeightNaming::GptNeoX: return kGptNeoX;
    default: return kRotary;
  }
}

bool is_ignorable_weight(const ModelConfig& config, std::string_view name) {
  const auto ends_so = [name](const IgnoredWeights& ignored) {
    const std::string_view suffix = ignored.suffix;
    return name == suffix || (name.ends_with(suffix) && name[name.size() - suffix.size() - 1] == '.');
  };
  if (std::ranges::any_of(ignored_weights(config.naming), ends_so)) return true;
  const auto layer = layer_of(weight_names(config.naming).layers, without_prefix(config, name));
  return layer && *layer >= config.num_layers && *layer < config.num_layers + config.prediction_layers;
}

}  // namespace foretell::formats
