#include "framework/model/heads/block_config.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/io/json.h"
#include "framework/model/heads/state_places.h"

namespace foretell::model::heads {
namespace {

constexpr int kMostSlots = 256, kMostBlockLayers = 64, kMostPlaces = 64, kMostRank = 1 << 16;

// What is no key of the layers' own config.
constexpr const char* kHeadOnly[] = {"dflash_config",
                                     "dspark_config",
                                     "speculators_config",
                                     "speculators_model_type",
                                     "speculators_version",
                                     "transformer_layer_config",
                                     "draft_vocab_size",
                                     "auto_map",
                                     "is_causal"};

// A key of the head stands in dflash_config or at the top: both are looked at, the former first.
class HeadKeys {
 public:
  explicit HeadKeys(const io::JsonObject& json) : top_(json), inner_(json.object("dflash_config")) {}

  const io::JsonObject& of(const char* key) const { return inner_ && inner_->has(key) ? *inner_ : top_; }
  int count(const char* key, int low, int high, int absent) const {
    return static_cast<int>(of(key).integer(key, low, high).value_or(absent));
  }
  double number(const char* key, double absent) const { return of(key).number(key, -1e6, 1e6).value_or(absent); }
  bool flag(const char* key, bool absent) const { return of(key).boolean(key).value_or(absent); }
  const nlohmann::json* find(const char* key) const { return of(key).find(key); }

 private:
  const io::JsonObject& top_;
  std::optional<io::JsonObject> inner_;
};

// The layers are Qwen3's or Llama's, whatever the head's architecture is called.
formats::ModelConfig layer_config(const nlohmann::json& document, const io::JsonObject& json, const std::string& name) {
  const nlohmann::json* inner = json.find("transformer_layer_config");
  nlohmann::json own = inner != nullptr ? *inner : document;
  if (!own.is_object()) json.refuse("transformer_layer_config", "is {}: an object was expected", io::shown(own));
  for (const char* key : kHeadOnly) own.erase(key);
  const auto type = own.find("model_type");
  const bool llama = type != own.end() && *type == "llama";
  if (type != own.end() && !llama && *type != "qwen3")
    json.refuse("model_type", "is {}: layers of qwen3 and llama are known", io::shown(*type));
  own["model_type"] = llama ? "llama" : "qwen3";
  own["architectures"] = {llama ? "LlamaForCausalLM" : "Qwen3ForCausalLM"};
  // layer_types alone says which layers have a window.
  const auto types = own.find("layer_types");
  if (types != own.end() && types->is_array())
    own["use_sliding_window"] = std::ranges::any_of(*types, [](const auto& t) { return t == "sliding_attention"; });
  return formats::parse_model_config(own.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), name);
}

std::vector<int> places_of(const HeadKeys& keys, const formats::ModelConfig& target, const std::string& name) {
  // speculators counts as Transformers' hidden_states, the others count layers.
  const bool counted_as_states = keys.find("target_layer_ids") == nullptr;
  const char* key = counted_as_states ? "aux_hidden_state_layer_ids" : "target_layer_ids";
  const nlohmann::json* ids = keys.find(key);
  if (ids == nullptr) fail("{}: 'target_layer_ids' is missing: which of the target's states the head reads", name);
  if (!ids->is_array() || ids->empty() || ids->size() > kMostPlaces)
    keys.of(key).refuse(key, "is {}: a list of layers was expected", io::shown(*ids));
  std::vector<int> places;
  for (const nlohmann::json& id : *ids) {
    const std::int64_t shift = counted_as_states ? 0 : 1;
    if (!id.is_number_integer() || id < -1 || id > 1000000 || id.get<std::int64_t>() + shift < 0 ||
        id.get<std::int64_t>() + shift > target.num_layers)
      keys.of(key).refuse(key, "holds {}, the target has {}", io::shown(id), counted(target.num_layers, "layer"));
    places.push_back(state_place(id.get<std::int64_t>() + shift, target.num_layers, name));
  }
  return places;
}

MarkovKind markov_kind(const HeadKeys& keys) {
  const auto kind = keys.of("markov_head_type").string("markov_head_type").value_or("vanilla");
  if (kind == "vanilla") return MarkovKind::Vanilla;
  if (kind == "gated") return MarkovKind::Gated;
  if (kind == "rnn") return MarkovKind::Rnn;
  keys.of("markov_head_type").refuse("markov_head_type", "is '{}'; known: vanilla, gated, rnn", kind);
}

void check_layers(const BlockConfig& config, const std::string& name) {
  const formats::ModelConfig& own = config.layers;
  const bool known = own.naming == formats::WeightNaming::Llama && own.norm == formats::NormKind::Rms && !own.latent &&
                     own.moe.experts == 0 && own.qk_norm != formats::QkNorm::Projection && own.gated_mlp &&
                     !own.mlp_bias && !own.parallel_residual && own.position == formats::PositionKind::Rope;
  if (!known) fail("{}: is no block head that is known here: its layers are neither Qwen3's nor Llama's", name);
  if (own.num_layers > kMostBlockLayers)
    fail("{}: has {}, at most {} are read", name, counted(own.num_layers, "layer"), kMostBlockLayers);
  if (config.conv_group > 0 && own.hidden_size % config.conv_group != 0)
    fail("{}: 'conv_group_size' {} does not divide the hidden size {}", name, config.conv_group, own.hidden_size);
}

}  // namespace

BlockConfig parse_block_config(std::string_view text, const std::string& name, const formats::ModelConfig& target) {
  const nlohmann::json document = io::parse_json(text, name);
  const io::JsonObject json(document, name);
  const HeadKeys keys(json);
  BlockConfig out;
  out.layers = layer_config(document, json, name);
  out.block_size = keys.count("block_size", 2, kMostSlots, 0);
  if (out.block_size == 0) fail("{}: 'block_size' is missing", name);
  const int mask = keys.count("mask_token_id", 0, std::numeric_limits<Token>::max(), -1);
  if (mask < 0) fail("{}: 'mask_token_id' is missing", name);
  out.mask = mask;
  out.places = places_of(keys, target, name);
  out.input_scale = keys.number("input_embedding_scale", 1);
  out.output_multiplier = keys.number("output_multiplier", 1);
  if (const auto cap = keys.of("final_logit_softcapping").number("final_logit_softcapping", 1e-3, 1e6))
    out.softcap = cap;
  const bool windows_see_all = keys.flag("sliding_window_non_causal", false);
  const auto causal = keys.of("is_causal").boolean("is_causal");
  for (int layer = 0; layer < out.layers.num_layers; ++layer)
    out.causal.push_back(causal.value_or(out.layers.is_windowed(layer) && !windows_see_all));

  out.conv_group = keys.count("conv_group_size", 1, 1 << 20, 0);
  out.conv_kernel = keys.count("conv_kernel_size", 1, kMostSlots, out.conv_group > 0 ? 2 : 0);
  out.selector_rank = keys.count("selector_rank", 1, kMostRank, 0);
  out.selector_top_k = keys.count("selector_top_k", 1, 1 << 20, 16);

  out.markov_rank = keys.count("markov_rank", 0, kMostRank, 0);
  if (out.markov_rank > 0) out.markov = markov_kind(keys);
  out.confidence = keys.flag("enable_confidence_head", false);
  out.confidence_reads_markov = out.confidence && keys.flag("confidence_head_with_markov", false);
  if (out.confidence_reads_markov && out.markov == MarkovKind::None)
    keys.of("confidence_head_with_markov")
        .refuse("confidence_head_with_markov", "is true, but there is no Markov head ('markov_rank')");
  const bool spark = keys.find("markov_rank") != nullptr || out.confidence;
  out.from_anchor = keys.flag("sample_from_anchor", spark);
  out.draft_vocab = keys.count("draft_vocab_size", 1, 1 << 30, 0);
  out.own_vocab = out.draft_vocab > 0 && out.draft_vocab != target.vocab_size;
  if (out.selector_rank > 0 && out.own_vocab)
    keys.of("draft_vocab_size")
        .refuse("draft_vocab_size", "is {}: the selector is over the target's {} tokens", out.draft_vocab,
                target.vocab_size);
  check_layers(out, name);
  return out;
}

BlockConfig new_block_config(const NewBlock& shape, const formats::ModelConfig& target) {
  BlockConfig out;
  formats::ModelConfig& own = out.layers;
  own.family = "qwen3";
  own.qk_norm = formats::QkNorm::Head;
  own.vocab_size = target.vocab_size;
  own.hidden_size = target.hidden_size;
  own.num_layers = shape.layers;
  own.num_heads = target.num_heads;
  own.num_kv_heads = target.num_kv_heads;
  own.head_dim = target.head_dim - target.head_dim % 2;
  own.intermediate_size = target.intermediate_size;
  own.context = target.context;
  own.norm_eps = target.norm_eps;
  own.rope.theta = target.rope.theta;
  own.sliding_window = shape.window;
  out.block_size = shape.block_size;
  out.mask = shape.mask.value_or(target.vocab_size - 1);
  out.from_anchor = shape.from_anchor;
  out.causal.assign(static_cast<std::size_t>(shape.layers), 0);
  std::vector<int> ids = shape.layer_ids;
  // As the authors place them: evenly from the second layer to the last but two.
  const int last = std::max(target.num_layers - 3, std::min(1, target.num_layers - 1));
  const int first = std::min(1, last);
  const int count = std::min(shape.states, last - first + 1);
  for (int i = 0; shape.layer_ids.empty() && i < count; ++i)
    ids.push_back(count == 1
                      ? last
                      : static_cast<int>(std::lround(first + static_cast<double>(i) * (last - first) / (count - 1))));
  for (const int id : ids) out.places.push_back(state_place(id + 1, target.num_layers, "the new head"));
  return out;
}

std::string block_config_json(const BlockConfig& config, const formats::ModelConfig& target) {
  auto json = nlohmann::ordered_json::parse(formats::model_config_json(config.layers));
  const bool spark = config.markov != MarkovKind::None || config.confidence;
  json["architectures"] = {spark                      ? "Qwen3DSparkModel"
                           : config.selector_rank > 0 ? "DFlash2DraftModel"
                                                      : "DFlashDraftModel"};
  json["num_target_layers"] = target.num_layers;
  json["block_size"] = config.block_size;
  json["is_causal"] = false;
  std::vector<int> ids;
  for (const int place : config.places) ids.push_back((place == kFinalState ? target.num_layers : place) - 1);
  json["dflash_config"] = {{"mask_token_id", config.mask}, {"target_layer_ids", ids}};
  json["sample_from_anchor"] = config.from_anchor;
  auto& inner = json["dflash_config"];
  if (config.conv_group > 0) {
    inner["conv_group_size"] = config.conv_group;
    inner["conv_kernel_size"] = config.conv_kernel;
  }
  if (config.selector_rank > 0) {
    inner["selector_rank"] = config.selector_rank;
    inner["selector_top_k"] = config.selector_top_k;
  }
  if (!spark) return json.dump(2) + "\n";
  json["markov_rank"] = config.markov_rank;
  if (config.markov != MarkovKind::None)
    json["markov_head_type"] = config.markov == MarkovKind::Vanilla ? "vanilla"
                               : config.markov == MarkovKind::Gated ? "gated"
                                                                    : "rnn";
  json["enable_confidence_head"] = config.confidence;
  json["confidence_head_with_markov"] = config.confidence_reads_markov;
  return json.dump(2) + "\n";
}

}  // namespace foretell::model::heads
