#include "framework/formats/model_families.h"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "framework/core/text.h"
#include "framework/formats/moe_config.h"
#include "framework/formats/rope_config.h"

namespace foretell::formats {
namespace {

constexpr std::int64_t kLargestWidth = 1 << 24;  // no model comes near; products of two stay far from overflow
constexpr int kMostLayers = 4096;

int required(const io::JsonObject& json, const char* key, std::int64_t high) {
  const auto value = json.integer(key, 1, high);
  if (!value) json.refuse(key, "is missing");
  return static_cast<int>(*value);
}

int optional_count(const io::JsonObject& json, const char* key, std::int64_t high, int otherwise) {
  return static_cast<int>(json.integer(key, 1, high).value_or(otherwise));
}

Activation parse_activation(const io::JsonObject& json, const char* key, const char* otherwise) {
  const std::string name = json.string(key).value_or(otherwise);
  if (name == "silu" || name == "swish") return Activation::Silu;
  if (name == "gelu" || name == "gelu_python") return Activation::Gelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_python_tanh" || name == "gelu_fast" ||
      name == "gelu_accurate") {
    return Activation::GeluTanh;
  }
  if (name == "relu") return Activation::Relu;
  json.refuse(key, "is '{}'; known: silu, swish, gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, relu", io::shown(name));
}

void check_width(const io::JsonObject& json, const char* heads_key, std::int64_t heads, std::int64_t head_dim) {
  if (heads * head_dim > kLargestWidth)
    json.refuse(heads_key, "is {}: with a head size of {} that is too wide", heads, head_dim);
}

int default_head_dim(const io::JsonObject& json, const char* heads_key, const ModelConfig& config) {
  if (config.hidden_size % config.num_heads != 0) {
    json.refuse(heads_key, "is {}, which does not divide the hidden size {}", config.num_heads, config.hidden_size);
  }
  return config.hidden_size / config.num_heads;
}

struct LlamaDefaults {
  double eps = 1e-6;
  int context = 2048;
  std::optional<int> kv_heads = {};  // without it, and where the file says null, as many as there are heads
  std::optional<int> head_dim = {};  // without it hidden_size / heads
  RopeDefaults rope = {};
};

int parse_kv_heads(const io::JsonObject& json, const ModelConfig& config, std::optional<int> otherwise) {
  constexpr const char* kKey = "num_key_value_heads";
  const int absent = json.is_null(kKey) ? config.num_heads : otherwise.value_or(config.num_heads);
  const int count = optional_count(json, kKey, config.num_heads, absent);
  if (config.num_heads % count != 0)
    json.refuse(kKey, "is {}, which does not divide the {}", count, counted(config.num_heads, "attention head"));
  return count;
}

// The sizes that all families but GPT-2 name alike.
void parse_sizes(const io::JsonObject& json, int default_context, ModelConfig& config) {
  config.vocab_size = required(json, "vocab_size", kLargestWidth);
  config.hidden_size = required(json, "hidden_size", kLargestWidth);
  config.intermediate_size = required(json, "intermediate_size", kLargestWidth);
  config.num_layers = required(json, "num_hidden_layers", kMostLayers);
  config.num_heads = required(json, "num_attention_heads", kLargestWidth);
  config.context = optional_count(json, "max_position_embeddings", kLargestWidth, default_context);
  config.tie_embeddings = json.boolean("tie_word_embeddings").value_or(false);
}

void set_rope(const io::JsonObject& json, int head_dim, const RopeDefaults& defaults, ModelConfig& config) {
  config.rope = parse_rope(json, head_dim, config.context, defaults);
  if (config.rope.scaling == RopeConfig::Scaling::LongRope)
    config.context = std::min(config.context, config.rope.original_context);
}

// What llama and the families made after it share.
ModelConfig parse_llama_like(const io::JsonObject& json, const LlamaDefaults& defaults) {
  ModelConfig config;
  parse_sizes(json, defaults.context, config);
  config.num_kv_heads = parse_kv_heads(json, config, defaults.kv_heads);
  if (json.has("head_dim")) {
    config.head_dim = required(json, "head_dim", kLargestWidth);
  } else {
    config.head_dim = defaults.head_dim ? *defaults.head_dim : default_head_dim(json, "num_attention_heads", config);
  }
  check_width(json, "num_attention_heads", config.num_heads, config.head_dim);
  config.norm_eps = json.number("rms_norm_eps", 0.0, 1.0).value_or(defaults.eps);
  config.activation = parse_activation(json, "hidden_act", "silu");
  set_rope(json, config.head_dim, defaults.rope, config);
  return config;
}

void parse_attention_bias(const io::JsonObject& json, ModelConfig& config) {
  config.qkv_bias = config.output_bias = json.boolean("attention_bias").value_or(false);
}

ModelConfig parse_llama(const io::JsonObject& json) {
  ModelConfig config = parse_llama_like(json, {.eps = 1e-6, .context = 2048});
  parse_attention_bias(json, config);
  config.mlp_bias = json.boolean("mlp_bias").value_or(false);
  config.bos = 1;
  config.eos = {2};
  return config;
}

// ---- Sliding windows
// -------------------------------------------------------------------------------------------------------------------

// The key's value; `absent` where it is not there at all, 0 where it is null: none. A window that is written as 0 hides
// everything in Transformers.
int parse_window(const io::JsonObject& json, int absent) {
  constexpr const char* kKey = "sliding_window";
  if (json.is_null(kKey)) return 0;
  return static_cast<int>(std::min(json.integer(kKey, 1, kLargestWidth * 64).value_or(absent), kLargestWidth));
}

// The layers that layer_types calls full; nothing if it is not given.
std::optional<std::vector<int>> parse_layer_types(const io::JsonObject& json, const ModelConfig& config) {
  constexpr const char* kKey = "layer_types";
  const nlohmann::json* types = json.find(kKey);
  if (types == nullptr) return std::nullopt;
  if (!types->is_array() || static_cast<int>(types->size()) != config.num_layers) {
    json.refuse(kKey, "is {}, a list with one entry for each of {} is expected", io::shown(*types),
                counted(config.num_layers, "layer"));
  }
  std::vector<int> full;
  for (int layer = 0; layer < config.num_layers; ++layer) {
    const auto& type = (*types)[static_cast<std::size_t>(layer)];
    if (type == "full_attention") {
      full.push_back(layer);
    } else if (type != "sliding_attention") {
      json.refuse(kKey, "holds '{}'; known: full_attention, sliding_attention", io::shown(type));
    }
  }
  return full;
}

void set_windows(int window, std::vector<int> full_layers, ModelConfig& config) {
  const bool any = window > 0 && static_cast<int>(full_layers.size()) < config.num_layers;
  config.sliding_window = any ? window : 0;
  config.full_layers = any ? std::move(full_layers) : std::vector<int>();
}

// Families whose layers are all windowed alike do not read layer_types: a file that says something else there was not
// made for them.
void set_uniform_window(const io::JsonObject& json, int window, ModelConfig& config) {
  set_windows(window, {}, config);
  const auto full = parse_layer_types(json, config);
  if (full && static_cast<int>(full->size()) != (config.sliding_window > 0 ? 0 : config.num_layers)) {
    json.refuse("layer_types", "names {}, but all layers of this architecture have a window of {} (0: none)",
                counted(full->size(), "full layer"), config.sliding_window);
  }
}

// Qwen's switch, its window, and the layers that the window is for if layer_types does not say.
template <class IsWindowed>
void parse_switched_windows(const io::JsonObject& json, ModelConfig& config, const IsWindowed& is_windowed) {
  const bool used = json.boolean("use_sliding_window").value_or(false);
  const int window = used ? parse_window(json, 4096) : 0;
  auto full = parse_layer_types(json, config);
  if (full && static_cast<int>(full->size()) < config.num_layers && window == 0) {
    json.refuse("layer_types", "has sliding_attention, but use_sliding_window is false or there is no sliding_window");
  }
  if (!full) {
    full.emplace();
    const auto first = json.integer("max_window_layers", 0, kLargestWidth).value_or(28);
    for (int layer = 0; layer < config.num_layers; ++layer)
      if (!is_windowed(layer, first)) full->push_back(layer);
  }
  set_windows(window, std::move(*full), config);
}

bool is_upper_layer(int layer, std::int64_t first) { return layer >= first; }

// ---- Dense families
// ----------------------------------------------------------------------------------------------------------------------

ModelConfig parse_mistral(const io::JsonObject& json) {
  ModelConfig config = parse_llama_like(json, {.eps = 1e-6, .context = 4096 * 32, .kv_heads = 8});
  set_uniform_window(json, parse_window(json, 4096), config);
  config.bos = 1;
  config.eos = {2};
  return config;
}

ModelConfig parse_qwen2(const io::JsonObject& json) {
  ModelConfig config = parse_llama_like(json, {.eps = 1e-6, .context = 32768});
  config.qkv_bias = true;
  parse_switched_windows(json, config, is_upper_layer);
  return config;
}

ModelConfig parse_qwen3(const io::JsonObject& json) {
  ModelConfig config = parse_llama_like(json, {.eps = 1e-6, .context = 32768, .kv_heads = 32, .head_dim = 128});
  parse_attention_bias(json, config);
  config.qk_norm = QkNorm::Head;
  parse_switched_windows(json, config, is_upper_layer);
  return config;
}

ModelConfig parse_phi3(const io::JsonObject& json) {
  ModelConfig config = parse_llama_like(
      json, {.eps = 1e-5,
             .context = 4096,
             .rope = {.partial_key = "partial_rotary_factor", .original_context = 4096, .yarn_means_longrope = true}});
  config.naming = WeightNaming::Phi3;
  if (config.rope.scaling != RopeConfig::Scaling::None && config.rope.scaling != RopeConfig::Scaling::LongRope) {
    json.refuse("rope_scaling", "has a type that this architecture does not know; known: default, longrope");
  }
  set_uniform_window(json, parse_window(json, 0), config);
  config.bos = 1;
  config.eos = {32000};
  return config;
}

// Llama with the linear layers of BitNet b1.58, each of which normalises its own input. A family of our own: its files
// come from an importer.
ModelConfig parse_bitllama(const io::JsonObject& json) {
  ModelConfig config = parse_llama_like(json, {.eps = 1e-5, .context = 2048});
  config.sublayer_norms = false;
  config.ternary = true;
  return config;
}

ModelConfig parse_gpt2(const io::JsonObject& json) {
  ModelConfig config;
  config.naming = WeightNaming::Gpt2;
  config.vocab_size = required(json, "vocab_size", kLargestWidth);
  config.hidden_size = required(json, "n_embd", kLargestWidth);
  config.num_layers = required(json, "n_layer", kMostLayers);
  config.num_heads = required(json, "n_head", kLargestWidth);
  config.num_kv_heads = config.num_heads;
  config.head_dim = default_head_dim(json, "n_head", config);
  config.context = optional_count(json, "n_positions", kLargestWidth, 1024);
  config.intermediate_size = optional_count(json, "n_inner", kLargestWidth, 4 * config.hidden_size);
  config.norm = NormKind::Layer;
  config.norm_eps = json.number("layer_norm_epsilon", 0.0, 1.0).value_or(1e-5);
  config.activation = parse_activation(json, "activation_function", "gelu_new");
  config.gated_mlp = false;
  config.qkv_bias = config.output_bias = config.mlp_bias = true;
  config.tie_embeddings = json.boolean("tie_word_embeddings").value_or(true);
  config.attention_scaled = json.boolean("scale_attn_weights").value_or(true);
  config.attention_scaled_by_layer = json.boolean("scale_attn_by_inverse_layer_idx").value_or(false);
  config.position = PositionKind::Learned;
  if (json.boolean("add_cross_attention").value_or(false))
    json.refuse("add_cross_attention", "is true; decoders alone can be run");
  config.bos = 50256;
  config.eos = {50256};
  return config;
}

ModelConfig parse_gpt_neox(const io::JsonObject& json) {
  ModelConfig config;
  config.naming = WeightNaming::GptNeoX;
  parse_sizes(json, 2048, config);
  config.num_kv_heads = config.num_heads;
  config.head_dim = default_head_dim(json, "num_attention_heads", config);
  config.norm = NormKind::Layer;
  if (const auto given = json.integer("head_dim", 1, kLargestWidth); given && *given != config.head_dim)
    json.refuse("head_dim", "is {}: this architecture's heads are the hidden size divided by their number, {}", *given,
                config.head_dim);
  config.norm_eps = json.number("layer_norm_eps", 0.0, 1.0).value_or(1e-5);
  config.activation = parse_activation(json, "hidden_act", "gelu");
  config.gated_mlp = false;
  config.qkv_bias = config.output_bias = json.boolean("attention_bias").value_or(true);
  config.mlp_bias = true;
  config.parallel_residual = json.boolean("use_parallel_residual").value_or(true);
  set_rope(json, config.head_dim, {.theta_key = "rotary_emb_base", .partial_key = "rotary_pct", .partial = 0.25},
           config);
  config.bos = 0;
  config.eos = {2};
  return config;
}

// ---- Mixtures of experts
// -----------------------------------------------------------------------------------------------------------------

ModelConfig parse_mixtral(const io::JsonObject& json) {
  ModelConfig config =
      parse_llama_like(json, {.eps = 1e-5, .context = 4096 * 32, .kv_heads = 8, .rope = {.theta = 1e6}});
  config.naming = WeightNaming::Mixtral;
  config.moe = parse_experts(
      json, config,
      {.count_key = "num_local_experts", .count = 8, .per_token = 2, .normalised = true, .free_experts = true});
  config.moe.expert_size = config.intermediate_size;
  config.moe.selection_bias = json.boolean("foretell_selection_bias").value_or(false);
  set_uniform_window(json, parse_window(json, 0), config);
  config.bos = 1;
  config.eos = {2};
  return config;
}

ModelConfig parse_qwen2_moe(const io::JsonObject& json) {
  ModelConfig config = parse_llama_like(json, {.eps = 1e-6, .context = 32768, .kv_heads = 16});
  config.qkv_bias = json.boolean("qkv_bias").value_or(true);
  config.moe = parse_experts(json, config, {.count = 60, .per_token = 4, .size = 1408, .shared_size = 5632});
  config.moe.dense_layers = parse_dense_layers(json, config);
  // Unlike its siblings, every other layer, up to max_window_layers.
  parse_switched_windows(json, config, [](int layer, std::int64_t first) { return layer % 2 == 0 && layer < first; });
  return config;
}

ModelConfig parse_qwen3_moe(const io::JsonObject& json) {
  ModelConfig config = parse_llama_like(json, {.eps = 1e-6, .context = 32768, .kv_heads = 4});
  parse_attention_bias(json, config);
  config.qk_norm = QkNorm::Head;
  config.moe = parse_experts(json, config, {.count = 128, .per_token = 8, .size = 768});
  config.moe.dense_layers = parse_dense_layers(json, config);
  set_uniform_window(json, json.boolean("use_sliding_window").value_or(false) ? parse_window(json, 4096) : 0, config);
  return config;
}

ModelConfig parse_olmoe(const io::JsonObject& json) {
  ModelConfig config = parse_llama_like(json, {.eps = 1e-5, .context = 4096});
  if (config.num_heads * config.head_dim != config.hidden_size) {
    json.refuse("head_dim", "is {}: this architecture's queries are as wide as the hidden size {}", config.head_dim,
                config.hidden_size);
  }
  parse_attention_bias(json, config);
  config.qk_norm = QkNorm::Projection;
  config.qkv_limit = json.number("clip_qkv", 0.0, 1e30);
  config.moe = parse_experts(json, config, {.count = 64, .per_token = 8});
  config.moe.expert_size = config.intermediate_size;
  config.eos = {50279};
  return config;
}

int latent_size(const io::JsonObject& json, const char* key, int otherwise) {
  return optional_count(json, key, kLargestWidth, otherwise);
}

LatentConfig parse_latent(const io::JsonObject& json) {
  LatentConfig latent;
  latent.query_rank = json.is_null("q_lora_rank") ? 0 : latent_size(json, "q_lora_rank", 1536);
  latent.kv_rank = latent_size(json, "kv_lora_rank", 512);
  latent.plain_dim = latent_size(json, "qk_nope_head_dim", 128);
  latent.rotary_dim = latent_size(json, "qk_rope_head_dim", 64);
  latent.value_dim = latent_size(json, "v_head_dim", 128);
  return latent;
}

// Transformers scales attention's scores with it beside any kind of scaling, yarn's definition is the only one that has
// it.
void refuse_stray_mscale(const io::JsonObject& json, const RopeConfig& rope) {
  if (rope.scaling == RopeConfig::Scaling::None || rope.scaling == RopeConfig::Scaling::Yarn) return;
  constexpr const char* kKey = "mscale_all_dim";
  for (const char* holder : {"rope_scaling", "rope_parameters"}) {
    const auto scaling = json.object(holder);
    const double value = scaling ? scaling->number(kKey, 0.0, 1e12).value_or(0.0) : 0.0;
    if (value != 0)
      scaling->refuse(kKey, "is {}, but the scaling is not yarn: only there it is known what that means", value);
  }
}

ModelConfig parse_deepseek_v3(const io::JsonObject& json) {
  ModelConfig config;
  parse_sizes(json, 4096, config);
  config.num_kv_heads = config.num_heads;
  const auto kv_heads = json.integer("num_key_value_heads", 1, kLargestWidth);
  if (kv_heads && *kv_heads != config.num_heads) {
    json.refuse("num_key_value_heads", "is {}: latent attention has as many as it has attention heads, {}", *kv_heads,
                config.num_heads);
  }
  config.latent = parse_latent(json);
  config.head_dim = config.latent->plain_dim + config.latent->rotary_dim;
  check_width(json, "num_attention_heads", config.num_heads, std::int64_t{config.head_dim} + config.latent->value_dim);
  config.norm_eps = json.number("rms_norm_eps", 0.0, 1.0).value_or(1e-6);
  config.activation = parse_activation(json, "hidden_act", "silu");
  parse_attention_bias(json, config);
  config.moe = parse_grouped_experts(json, config);
  set_rope(json, config.latent->rotary_dim, {.interleaved = true}, config);
  refuse_stray_mscale(json, config.rope);
  const char* prediction_key = json.has("num_nextn_predict_layers") ? "num_nextn_predict_layers" : "num_mtp_layers";
  config.prediction_layers = static_cast<int>(json.integer(prediction_key, 0, kMostLayers).value_or(0));
  config.bos = 0;
  config.eos = {1};
  return config;
}

constexpr io::JsonAlias kGpt2Aliases[] = {{"n_embd", "hidden_size"},
                                          {"n_layer", "num_hidden_layers"},
                                          {"n_head", "num_attention_heads"},
                                          {"n_positions", "max_position_embeddings"}};
constexpr io::JsonAlias kMixtralAliases[] = {{"num_local_experts", "num_experts"}};
constexpr io::JsonAlias kExpertAliases[] = {{"num_experts", "num_local_experts"}};  // qwen3_moe, olmoe
constexpr io::JsonAlias kDeepseekAliases[] = {{"n_routed_experts", "num_local_experts"}};

constexpr ModelFamily kFamilies[] = {
    {"llama", "LlamaForCausalLM", "RMSNorm, rotary positions (also llama3, linear, YaRN and LongRoPE scaling), SwiGLU",
     parse_llama},
    {"mistral", "MistralForCausalLM", "as llama, with a sliding window", parse_mistral},
    {"qwen2", "Qwen2ForCausalLM", "as llama, with bias on query, key and value; a sliding window in some layers",
     parse_qwen2},
    {"qwen3", "Qwen3ForCausalLM", "as llama, with RMSNorm on each query and key", parse_qwen3},
    {"phi3", "Phi3ForCausalLM", "as llama, with fused projections; LongRoPE within its original context", parse_phi3},
    {"gpt2", "GPT2LMHeadModel", "LayerNorm, learned positions, GELU", parse_gpt2, kGpt2Aliases},
    {"gpt_neox", "GPTNeoXForCausalLM", "Pythia: LayerNorm, partial rotary positions, attention and MLP side by side",
     parse_gpt_neox},
    {"mixtral", "MixtralForCausalLM", "as mistral, with a mixture of experts", parse_mixtral, kMixtralAliases},
    {"qwen2_moe", "Qwen2MoeForCausalLM", "as qwen2, with a mixture of experts and a gated shared one", parse_qwen2_moe},
    {"qwen3_moe", "Qwen3MoeForCausalLM", "as qwen3, with a mixture of experts", parse_qwen3_moe, kExpertAliases},
    {"olmoe", "OlmoeForCausalLM", "OLMoE: a mixture of experts, RMSNorm on whole queries and keys", parse_olmoe,
     kExpertAliases},
    {"deepseek_v3", "DeepseekV3ForCausalLM", "latent attention, a mixture of experts in groups with shared ones",
     parse_deepseek_v3, kDeepseekAliases},
    {"bitllama", "BitLlamaForCausalLM",
     "llama with the ternary layers of BitNet b1.58, from `foretell import bitllama`", parse_bitllama}};

}  // namespace

std::span<const ModelFamily> model_families() { return kFamilies; }

const ModelFamily& find_family(const io::JsonObject& json) {
  const auto type = json.string("model_type");
  const nlohmann::json* list = json.find("architectures");
  const bool has_architecture = list != nullptr && list->is_array() && !list->empty() && (*list)[0].is_string();
  const std::string architecture = has_architecture ? (*list)[0].get<std::string>() : "";
  for (const ModelFamily& family : kFamilies) {
    if (type ? *type == family.name : architecture == family.architecture) return family;
  }
  const auto known = known_model_families();
  if (!type && !has_architecture) json.refuse("model_type", "is missing; known: {}", fmt::join(known, ", "));
  fail("{}: {}{}", json.name(), unknown_name_message("architecture", io::shown(type.value_or(architecture)), known),
       json.has("auto_map") ? "; this one brings its own code along (auto_map), which is not run" : "");
}

}  // namespace foretell::formats
