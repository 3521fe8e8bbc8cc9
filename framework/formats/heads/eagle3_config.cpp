#include "framework/formats/heads/eagle3_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/io/json.h"
#include "framework/io/mapped_file.h"

namespace foretell::formats::heads {
namespace {

constexpr const char* kStatesKey = "eagle_aux_hidden_state_layer_ids";
constexpr int kMostLayers = 4096, kMostStates = 64;
constexpr int kMostVocab = 1 << 24;

// The keys that say that a config is a head's, and that a whole model's reader would refuse.
ModelConfig parse_layers(const nlohmann::json& object, const std::string& name) {
  nlohmann::json layers = object;
  for (const char* key : {"architectures", "auto_map", "draft_vocab_size", "eagle_config", "speculators_config",
                          "speculators_model_type"})
    layers.erase(key);
  if (!layers.contains("model_type") || layers["model_type"].is_null()) layers["model_type"] = "llama";
  return parse_model_config(layers.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), name);
}

std::vector<int> parse_states(const io::JsonObject& json, int more) {
  const nlohmann::json* list = json.find(kStatesKey);
  if (list == nullptr) return {};
  if (!list->is_array() || list->empty() || list->size() > kMostStates)
    json.refuse(kStatesKey, "is {}, a list of 1 to {} layers is expected", io::shown(*list), kMostStates);
  std::vector<int> out;
  for (const nlohmann::json& entry : *list) {
    const bool known = entry.is_number_integer() && entry >= 0 && entry <= kMostLayers;
    if (!known) json.refuse(kStatesKey, "holds {}, layers from 0 to {} are expected", io::shown(entry), kMostLayers);
    out.push_back(entry.get<int>() + more);
  }
  return out;
}

}  // namespace

Eagle3Config parse_eagle3_config(std::string_view text, const std::string& name) {
  const nlohmann::json document = io::parse_json(text, name);
  const io::JsonObject json(document, name);
  const nlohmann::json* inner = json.find("transformer_layer_config");
  if (inner != nullptr && !inner->is_object())
    json.refuse("transformer_layer_config", "is {}, an object is expected", io::shown(*inner));
  Eagle3Config out;
  out.layers = parse_layers(inner != nullptr ? *inner : document, name);
  const auto inner_vocab = inner != nullptr ? json.integer("target_vocab_size", 1, kMostVocab) : std::nullopt;
  if (inner_vocab) out.layers.vocab_size = static_cast<int>(*inner_vocab);
  out.draft_vocab = static_cast<int>(json.integer("draft_vocab_size", 1, kMostVocab).value_or(out.layers.vocab_size));
  out.target_hidden = static_cast<int>(json.integer("target_hidden_size", 1, 1 << 20).value_or(out.layers.hidden_size));
  const auto eagle = json.object("eagle_config");
  const auto flag = [&](const char* key) {
    const auto own = json.boolean(key);
    return own ? *own : eagle && eagle->boolean(key).value_or(false);
  };
  out.norm_before_residual = flag("norm_before_residual");
  out.norm_before_fc = flag("norm_before_fc");
  out.fc_norm = flag("fc_norm");
  out.norm_output = flag("norm_output");
  if (out.norm_before_fc && out.fc_norm)
    json.refuse("fc_norm", "and norm_before_fc are both true: one norm stands before fc");
  out.states = parse_states(json, 0);
  if (out.states.empty() && eagle) out.states = parse_states(*eagle, 1);
  return out;
}

Eagle3Config load_eagle3_config(const std::filesystem::path& folder) {
  const auto path = folder / "config.json";
  if (!std::filesystem::exists(path)) fail("{}: there is none; an EAGLE-3 head has its config there", path.string());
  return parse_eagle3_config(io::MappedFile::open(path).text(), path.string());
}

std::string eagle3_config_json(const Eagle3Config& config) {
  auto json = nlohmann::ordered_json::parse(model_config_json(config.layers));
  json["architectures"] = {"LlamaForCausalLMEagle3"};
  json["draft_vocab_size"] = config.draft_vocab;
  if (config.target_hidden != config.layers.hidden_size) json["target_hidden_size"] = config.target_hidden;
  if (!config.states.empty()) json[kStatesKey] = config.states;
  for (const auto& [key, value] : {std::pair("norm_before_residual", config.norm_before_residual),
                                   {"norm_before_fc", config.norm_before_fc},
                                   {"fc_norm", config.fc_norm},
                                   {"norm_output", config.norm_output}})
    if (value) json[key] = true;
  return json.dump(2) + "\n";
}

std::vector<int> read_states(const Eagle3Config& config, int count, int target_layers, const std::string& name) {
  if (!config.states.empty()) {
    if (static_cast<int>(config.states.size()) != count)
      fail("{}: 'fc.weight' reads {} of the target, config.json names {} ({})", name, counted(count, "state"),
           config.states.size(), kStatesKey);
    if (const int most = std::ranges::max(config.states); most > target_layers)
      fail("{}: the head reads the state behind layer {}, the target has {}", name, most,
           counted(target_layers, "layer"));
    return config.states;
  }
  if (count != 3)
    fail("{}: 'fc.weight' reads {} of the target, and nothing says which: config.json lacks {}", name,
         counted(count, "state"), kStatesKey);
  if (target_layers < 4)
    fail(
        "{}: config.json names no states of the target ({}), and the published ones (behind 2, half and all but 3 of "
        "its layers) need at least 4 layers: the target has {}",
        name, kStatesKey, target_layers);
  return {2, target_layers / 2, target_layers - 3};
}

}  // namespace foretell::formats::heads
