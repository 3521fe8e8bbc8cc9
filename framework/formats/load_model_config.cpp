#include "framework/formats/model_config.h"

#include <nlohmann/json.hpp>

#include <utility>

#include "framework/formats/model_families.h"
#include "framework/formats/other_kinds.h"
#include "framework/io/json.h"
#include "framework/io/mapped_file.h"

namespace foretell::formats {
namespace {

// One id or a list of ids. Ids that the vocabulary does not have (a family's default in a small model, -1) can never
// come up and are left out.
std::vector<Token> parse_ids(const io::JsonObject& json, const char* key, int vocab_size) {
  const nlohmann::json* value = json.find(key);
  std::vector<Token> ids;
  const auto add = [&](const nlohmann::json& id) {
    if (!id.is_number_integer()) json.refuse(key, "holds {}, a token id is expected", io::shown(id));
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

std::optional<Token> first_of(const std::vector<Token>& ids) {
  return ids.empty() ? std::nullopt : std::optional(ids[0]);
}

// A key that is absent leaves the family's own default, one that is null says that there is none.
void parse_special_tokens(const nlohmann::json& document, const io::JsonObject& json, ModelConfig& config) {
  if (document.contains("bos_token_id")) config.bos.reset();
  if (document.contains("eos_token_id")) config.eos.clear();
  if (json.has("bos_token_id")) config.bos = first_of(parse_ids(json, "bos_token_id", config.vocab_size));
  if (json.has("eos_token_id")) config.eos = parse_ids(json, "eos_token_id", config.vocab_size);
  std::erase_if(config.eos, [&config](Token id) { return id >= config.vocab_size; });
  if (config.bos && *config.bos >= config.vocab_size) config.bos.reset();
}

void parse_padding(const io::JsonObject& json, ModelConfig& config) {
  const auto valid = json.integer("vocab_valid", 1, config.vocab_size);
  if (valid && *valid < config.vocab_size)
    config.padded_vocab = std::exchange(config.vocab_size, static_cast<int>(*valid));
  config.inflated_from = json.string("inflated_from");
}

void parse_dtype_name(const io::JsonObject& json, ModelConfig& config) {
  const char* key = json.has("dtype") ? "dtype" : "torch_dtype";
  auto name = json.string(key);
  if (!name || *name == "auto") return;
  if (name->starts_with("torch.")) name = name->substr(6);
  if (*name != "float32" && *name != "float16" && *name != "bfloat16" && *name != "float64") {
    json.refuse(key, "is '{}'; known: float32, float16, bfloat16, float64", io::shown(*name));
  }
  config.dtype = *name;
}

// Models that embed texts see later tokens as well. Transformers takes null for false.
void refuse_two_way_attention(const io::JsonObject& json) {
  if (json.is_null("is_causal") || !json.boolean("is_causal").value_or(true))
    json.refuse("is_causal", "is not true: attention that sees later tokens cannot be run");
}

}  // namespace

std::vector<std::string> known_model_families() {
  std::vector<std::string> names;
  for (const ModelFamily& family : model_families()) names.emplace_back(family.name);
  return names;
}

ModelConfig parse_model_config(std::string_view text, const std::string& name) {
  const nlohmann::json document = io::parse_json(text, name);
  const io::JsonObject json(document, name);
  refuse_other_configs(json);
  const ModelFamily& family = find_family(json);
  refuse_two_way_attention(json);
  ModelConfig config = family.parse(json.with_aliases(family.aliases));
  config.family = family.name;
  config.int4 = parse_int4_storage(json);
  if (config.int4 && (config.naming == WeightNaming::Gpt2 || config.naming == WeightNaming::GptNeoX || config.ternary))
    json.refuse("quantization_config", "is given: 4-bit weights of a {} model are not read", config.family);
  parse_padding(json, config);
  parse_special_tokens(document, json, config);
  parse_dtype_name(json, config);
  return config;
}

void apply_generation_config(std::string_view text, const std::string& name, ModelConfig& config) {
  const nlohmann::json document = io::parse_json(text, name);
  const io::JsonObject json(document, name);
  if (json.has("bos_token_id")) config.bos = first_of(parse_ids(json, "bos_token_id", config.vocab_size));
  if (json.has("eos_token_id")) config.eos = parse_ids(json, "eos_token_id", config.vocab_size);
}

ModelConfig load_model_config(const std::filesystem::path& folder) {
  const auto path = folder / "config.json";
  std::error_code error;
  refuse_other_folders(folder);
  ModelConfig config = parse_model_config(io::MappedFile::open(path).text(), path.string());
  const auto generation = folder / "generation_config.json";
  if (std::filesystem::exists(generation, error)) {
    apply_generation_config(io::MappedFile::open(generation).text(), generation.string(), config);
  }
  return config;
}

}  // namespace foretell::formats
