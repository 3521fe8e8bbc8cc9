#include "framework/model/files/model_config.h"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <utility>

#include "framework/model/files/json.h"
#include "framework/model/files/mapped_file.h"
#include "framework/model/files/rope_config.h"

namespace foretell {
namespace {

constexpr std::int64_t kLargestWidth = 1 << 24;  // no model comes near; products of two stay far from overflow
constexpr int kMostLayers = 4096;

int required(const JsonObject& json, const char* key, std::int64_t high) {
  const auto value = json.integer(key, 1, high);
  if (!value) json.refuse(key, "is missing");
  return static_cast<int>(*value);
}

// Hugging Face gives GPT-2 two spellings for one thing ("n_embd" and "hidden_size").
int required(const JsonObject& json, const char* key, const char* other, std::int64_t high) {
  return required(json, !json.has(key) && json.has(other) ? other : key, high);
}

int optional_count(const JsonObject& json, const char* key, std::int64_t high, int otherwise) {
  return static_cast<int>(json.integer(key, 1, high).value_or(otherwise));
}

Activation parse_activation(const JsonObject& json, const char* key, const char* otherwise) {
  const std::string name = json.string(key).value_or(otherwise);
  if (name == "silu" || name == "swish") return Activation::Silu;
  if (name == "gelu" || name == "gelu_python") return Activation::Gelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_python_tanh" || name == "gelu_fast" || name == "gelu_accurate") {
    return Activation::GeluTanh;
  }
  if (name == "relu") return Activation::Relu;
  json.refuse(key, "is '{}'; known: silu, swish, gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, relu", shown(name));
}

// One id or a list of ids. Ids that the vocabulary does not have (a family's default in a small model, -1) can never come up and are left out.
std::vector<Token> parse_ids(const JsonObject& json, const char* key, int vocab_size) {
  const nlohmann::json* value = json.find(key);
  std::vector<Token> ids;
  const auto add = [&](const nlohmann::json& id) {
    if (!id.is_number_integer()) json.refuse(key, "holds {}, a token id is expected", shown(id));
    const bool is_known = id.is_number_unsigned() && id.get<std::uint64_t>() < static_cast<std::uint64_t>(vocab_size);
    if (is_known) ids.push_back(id.get<Token>());
  };
  if (value->is_array()) {
    for (const auto& id : *value) add(id);
  } else {
    add(*value);
  }
  return ids;
}

std::optional<Token> first_of(const std::vector<Token>& ids) { return ids.empty() ? std::nullopt : std::optional(ids[0]); }

// A key that is absent leaves the family's own default, one that is null says that there is none.
void parse_special_tokens(const nlohmann::json& document, const JsonObject& json, ModelConfig& config) {
  if (document.contains("bos_token_id")) config.bos.reset();
  if (document.contains("eos_token_id")) config.eos.clear();
  if (json.has("bos_token_id")) config.bos = first_of(parse_ids(json, "bos_token_id", config.vocab_size));
  if (json.has("eos_token_id")) config.eos = parse_ids(json, "eos_token_id", config.vocab_size);
  std::erase_if(config.eos, [&config](Token id) { return id >= config.vocab_size; });
  if (config.bos && *config.bos >= config.vocab_size) config.bos.reset();
}

void parse_padding(const JsonObject& json, ModelConfig& config) {
  const auto valid = json.integer("vocab_valid", 1, config.vocab_size);
  if (valid && *valid < config.vocab_size) config.padded_vocab = std::exchange(config.vocab_size, static_cast<int>(*valid));
  config.inflated_from = json.string("inflated_from");
}

void parse_dtype_name(const JsonObject& json, ModelConfig& config) {
  const char* key = json.has("dtype") ? "dtype" : "torch_dtype";
  auto name = json.string(key);
  if (!name || *name == "auto") return;
  if (name->starts_with("torch.")) name = name->substr(6);
  if (*name != "float32" && *name != "float16" && *name != "bfloat16" && *name != "float64") {
    json.refuse(key, "is '{}'; known: float32, float16, bfloat16, float64", shown(*name));
  }
  config.dtype = *name;
}

void check_heads(const JsonObject& json, const char* heads_key, const ModelConfig& config) {
  if (config.num_heads % config.num_kv_heads != 0) {
    json.refuse("num_key_value_heads", "is {}, which does not divide the {} attention heads", config.num_kv_heads, config.num_heads);
  }
  if (static_cast<std::int64_t>(config.num_heads) * config.head_dim > kLargestWidth) {
    json.refuse(heads_key, "is {}: with a head size of {} that is too wide", config.num_heads, config.head_dim);
  }
}

int default_head_dim(const JsonObject& json, const char* heads_key, const ModelConfig& config) {
  if (config.hidden_size % config.num_heads != 0) {
    json.refuse(heads_key, "is {}, which does not divide the hidden size {}", config.num_heads, config.hidden_size);
  }
  return config.hidden_size / config.num_heads;
}

// What llama and the families made after it share.
ModelConfig parse_llama_like(const JsonObject& json, double default_eps, int default_context) {
  ModelConfig config;
  config.vocab_size = required(json, "vocab_size", kLargestWidth);
  config.hidden_size = required(json, "hidden_size", kLargestWidth);
  config.intermediate_size = required(json, "intermediate_size", kLargestWidth);
  config.num_layers = required(json, "num_hidden_layers", kMostLayers);
  config.num_heads = required(json, "num_attention_heads", kLargestWidth);
  config.num_kv_heads = optional_count(json, "num_key_value_heads", config.num_heads, config.num_heads);
  config.head_dim =
      json.has("head_dim") ? required(json, "head_dim", kLargestWidth) : default_head_dim(json, "num_attention_heads", config);
  check_heads(json, "num_attention_heads", config);
  config.context = optional_count(json, "max_position_embeddings", kLargestWidth, default_context);
  config.norm_eps = json.number("rms_norm_eps", 0.0, 1.0).value_or(default_eps);
  config.activation = parse_activation(json, "hidden_act", "silu");
  config.tie_embeddings = json.boolean("tie_word_embeddings").value_or(false);
  config.rope = parse_rope(json, config.head_dim, config.context);
  return config;
}

ModelConfig parse_llama(const JsonObject& json) {
  ModelConfig config = parse_llama_like(json, 1e-6, 2048);
  config.qkv_bias = config.output_bias = json.boolean("attention_bias").value_or(false);
  config.mlp_bias = json.boolean("mlp_bias").value_or(false);
  config.bos = 1;
  config.eos = {2};
  return config;
}

// Qwen2's sliding window applies to the layers from max_window_layers on, or to those that layer_types names.
void refuse_sliding_window(const JsonObject& json, const ModelConfig& config) {
  const nlohmann::json* types = json.find("layer_types");
  if (types != nullptr && types->is_array()) {
    for (const auto& type : *types) {
      if (type != "full_attention") json.refuse("layer_types", "holds '{}'; only full_attention can be run yet", shown(type));
    }
    return;
  }
  if (!json.boolean("use_sliding_window").value_or(false)) return;
  const auto first = json.integer("max_window_layers", 0, kLargestWidth).value_or(28);
  const auto window = json.integer("sliding_window", 1, kLargestWidth * 64).value_or(json.find("sliding_window") ? 0 : 4096);
  if (first < config.num_layers && window < config.context) {
    json.refuse("use_sliding_window", "is true and {} of {} layers would use a window of {}; sliding windows cannot be run yet",
                config.num_layers - first, config.num_layers, window);
  }
}

ModelConfig parse_qwen2(const JsonObject& json) {
  ModelConfig config = parse_llama_like(json, 1e-6, 32768);
  config.qkv_bias = true;
  refuse_sliding_window(json, config);
  return config;
}

// Llama with the linear layers of BitNet b1.58, each of which normalises its own input. A family of our own: its files come from an importer.
ModelConfig parse_bitllama(const JsonObject& json) {
  ModelConfig config = parse_llama_like(json, 1e-5, 2048);
  config.sublayer_norms = false;
  config.ternary = true;
  return config;
}

ModelConfig parse_gpt2(const JsonObject& json) {
  ModelConfig config;
  config.naming = WeightNaming::Gpt2;
  config.vocab_size = required(json, "vocab_size", kLargestWidth);
  config.hidden_size = required(json, "n_embd", "hidden_size", kLargestWidth);
  config.num_layers = required(json, "n_layer", "num_hidden_layers", kMostLayers);
  config.num_heads = required(json, "n_head", "num_attention_heads", kLargestWidth);
  config.num_kv_heads = config.num_heads;
  config.head_dim = default_head_dim(json, "n_head", config);
  const char* context_key = json.has("n_positions")               ? "n_positions"
                            : json.has("max_position_embeddings") ? "max_position_embeddings"
                                                                  : "n_ctx";
  config.context = optional_count(json, context_key, kLargestWidth, 1024);
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
  if (json.boolean("add_cross_attention").value_or(false)) json.refuse("add_cross_attention", "is true; decoders alone can be run");
  config.bos = 50256;
  config.eos = {50256};
  return config;
}

struct Family {
  const char* name;          // config.json's "model_type"
  const char* architecture;  // the entry of config.json's "architectures"
  ModelConfig (*parse)(const JsonObject&);
};
constexpr Family kFamilies[] = {{"llama", "LlamaForCausalLM", parse_llama},
                                {"qwen2", "Qwen2ForCausalLM", parse_qwen2},
                                {"gpt2", "GPT2LMHeadModel", parse_gpt2},
                                {"bitllama", "BitLlamaForCausalLM", parse_bitllama}};

const Family& find_family(const JsonObject& json) {
  const auto type = json.string("model_type");
  const nlohmann::json* list = json.find("architectures");
  const bool has_architecture = list != nullptr && list->is_array() && !list->empty() && (*list)[0].is_string();
  const std::string architecture = has_architecture ? (*list)[0].get<std::string>() : "";
  for (const Family& family : kFamilies) {
    if (type ? *type == family.name : architecture == family.architecture) return family;
  }
  const auto known = known_model_families();
  if (!type && !has_architecture) json.refuse("model_type", "is missing; known: {}", fmt::join(known, ", "));
  fail("{}: {}", json.name(), unknown_name_message("architecture", shown(type.value_or(architecture)), known));
}

}  // namespace

std::vector<std::string> known_model_families() {
  std::vector<std::string> names;
  for (const Family& family : kFamilies) names.emplace_back(family.name);
  return names;
}

ModelConfig parse_model_config(std::string_view text, const std::string& name) {
  const nlohmann::json document = parse_json(text, name);
  const JsonObject json(document, name);
  const Family& family = find_family(json);
  ModelConfig config = family.parse(json);
  config.family = family.name;
  parse_padding(json, config);
  parse_special_tokens(document, json, config);
  parse_dtype_name(json, config);
  return config;
}

void apply_generation_config(std::string_view text, const std::string& name, ModelConfig& config) {
  const nlohmann::json document = parse_json(text, name);
  const JsonObject json(document, name);
  if (json.has("bos_token_id")) config.bos = first_of(parse_ids(json, "bos_token_id", config.vocab_size));
  if (json.has("eos_token_id")) config.eos = parse_ids(json, "eos_token_id", config.vocab_size);
}

ModelConfig load_model_config(const std::filesystem::path& folder) {
  const auto path = folder / "config.json";
  std::error_code error;
  if (!std::filesystem::exists(folder, error)) fail("{}: no such folder", folder.string());
  if (!std::filesystem::is_directory(folder, error))
    fail("{}: is not a folder; a model is a folder with config.json in it", folder.string());
  ModelConfig config = parse_model_config(MappedFile::open(path).text(), path.string());
  const auto generation = folder / "generation_config.json";
  if (std::filesystem::exists(generation, error)) {
    apply_generation_config(MappedFile::open(generation).text(), generation.string(), config);
  }
  return config;
}

}  // namespace foretell
