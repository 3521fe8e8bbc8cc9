#include "framework/formats/moe_config.h"

#include <nlohmann/json.hpp>

#include <numeric>

#include "framework/core/text.h"

namespace foretell::formats {
namespace {

constexpr std::int64_t kLargestExpertSize = 1 << 24;
constexpr int kMostExperts = 1 << 14;
constexpr std::int64_t kMostInModel = 1 << 16;  // of all layers

int count_of(const io::JsonObject& json, const char* key, std::int64_t high, int otherwise) {
  return static_cast<int>(json.integer(key, 1, high).value_or(otherwise));
}

void check_experts(const io::JsonObject& json, const char* key, const ModelConfig& config, const MoeConfig& moe) {
  if (std::int64_t{moe.routed()} * config.num_layers > kMostInModel) {
    json.refuse(key, "is {}: with {} there would be more than {} experts", moe.experts,
                counted(config.num_layers, "layer"), kMostInModel);
  }
  if (moe.experts_per_token > moe.routed()) {
    json.refuse("num_experts_per_tok", "is {}, more than the {}", moe.experts_per_token,
                counted(moe.routed(), "expert"));
  }
}

}  // namespace

MoeConfig parse_experts(const io::JsonObject& json, const ModelConfig& config, const ExpertDefaults& defaults) {
  MoeConfig moe;
  moe.experts = count_of(json, defaults.count_key, kMostExperts, defaults.count);
  if (defaults.free_experts) {
    const auto free = [&](const char* key) { return static_cast<int>(json.integer(key, 0, kMostExperts).value_or(0)); };
    moe.zero = free("foretell_zero_experts");
    moe.copy = free("foretell_copy_experts");
    moe.constant = free("foretell_constant_experts");
  }
  moe.experts_per_token =
      count_of(json, "num_experts_per_tok", kMostExperts, std::min(defaults.per_token, moe.routed()));
  if (defaults.size > 0) moe.expert_size = count_of(json, "moe_intermediate_size", kLargestExpertSize, defaults.size);
  if (defaults.shared_size > 0) {
    moe.shared_size = count_of(json, "shared_expert_intermediate_size", kLargestExpertSize, defaults.shared_size);
    moe.shared_gated = true;
  }
  moe.normalised = defaults.normalised.value_or(json.boolean("norm_topk_prob").value_or(false));
  check_experts(json, defaults.count_key, config, moe);
  return moe;
}

std::vector<int> parse_dense_layers(const io::JsonObject& json, const ModelConfig& config) {
  constexpr const char* kKey = "mlp_only_layers";
  const auto step = json.integer("decoder_sparse_step", 1, kLargestExpertSize).value_or(1);
  std::vector<bool> dense(static_cast<std::size_t>(config.num_layers));
  for (std::size_t layer = 0; layer < dense.size(); ++layer)
    dense[layer] = (static_cast<std::int64_t>(layer) + 1) % step != 0;
  if (const nlohmann::json* list = json.find(kKey)) {
    if (!list->is_array()) json.refuse(kKey, "is {}, a list of layers is expected", io::shown(*list));
    for (const auto& layer : *list) {
      if (!layer.is_number_integer()) json.refuse(kKey, "holds {}, a layer is expected", io::shown(layer));
      if (layer.is_number_unsigned() && layer.get<std::uint64_t>() < dense.size())
        dense[layer.get<std::size_t>()] = true;
    }
  }
  std::vector<int> layers;
  for (std::size_t layer = 0; layer < dense.size(); ++layer)
    if (dense[layer]) layers.push_back(static_cast<int>(layer));
  return layers;
}

MoeConfig parse_grouped_experts(const io::JsonObject& json, const ModelConfig& config) {
  const auto only = [&](const char* key, const char* known) {
    const auto value = json.string(key);
    if (value && *value != known) json.refuse(key, "is '{}'; known: {}", io::shown(*value), known);
  };
  only("scoring_func", "sigmoid");
  only("topk_method", "noaux_tc");
  const auto every = json.integer("moe_layer_freq", 1, kLargestExpertSize).value_or(1);
  if (every != 1) json.refuse("moe_layer_freq", "is {}; known: 1", every);
  MoeConfig moe;
  moe.score = MoeConfig::Score::Sigmoid;
  moe.selection_bias = true;
  moe.experts = count_of(json, "n_routed_experts", kMostExperts, 256);
  moe.experts_per_token = count_of(json, "num_experts_per_tok", kMostExperts, 8);
  moe.expert_size = count_of(json, "moe_intermediate_size", kLargestExpertSize, 2048);
  const std::int64_t shared =
      json.integer("n_shared_experts", 0, kMostExperts).value_or(json.is_null("n_shared_experts") ? 0 : 1);
  if (shared * moe.expert_size > kLargestExpertSize)
    json.refuse("n_shared_experts", "is {}: with a size of {} that is too wide", shared, moe.expert_size);
  moe.shared_size = static_cast<int>(shared) * moe.expert_size;
  moe.groups = count_of(json, "n_group", kMostExperts, 8);
  moe.groups_kept = count_of(json, "topk_group", kMostExperts, 4);
  moe.normalised = json.boolean("norm_topk_prob").value_or(!json.is_null("norm_topk_prob"));
  moe.scale = json.number("routed_scaling_factor", 0.0, 1e30).value_or(2.5);
  check_experts(json, "n_routed_experts", config, moe);
  if (moe.experts % moe.groups != 0 || moe.experts / moe.groups < 2) {
    json.refuse("n_group", "is {}: {} cannot be divided into so many groups of at least two", moe.groups,
                counted(moe.experts, "expert"));
  }
  if (moe.groups_kept > moe.groups)
    json.refuse("topk_group", "is {}, more than the {}", moe.groups_kept, counted(moe.groups, "group"));
  const int allowed = moe.groups_kept * (moe.experts / moe.groups);
  if (moe.experts_per_token > allowed) {
    json.refuse("num_experts_per_tok", "is {}, the kept groups hold {}", moe.experts_per_token,
                counted(allowed, "expert"));
  }
  const auto dense = json.integer("first_k_dense_replace", 0, kLargestExpertSize).value_or(3);
  moe.dense_layers.resize(static_cast<std::size_t>(std::min<std::int64_t>(dense, config.num_layers)));
  std::iota(moe.dense_layers.begin(), moe.dense_layers.end(), 0);
  return moe;
}

void write_experts(const ModelConfig& config, nlohmann::ordered_json& json) {
  const MoeConfig& moe = config.moe;
  json["num_experts_per_tok"] = moe.experts_per_token;
  if (config.latent) {
    json["n_routed_experts"] = moe.experts;
    json["moe_intermediate_size"] = moe.expert_size;
    json["n_shared_experts"] = moe.shared_size / moe.expert_size;
    json["n_group"] = moe.groups;
    json["topk_group"] = moe.groups_kept;
    json["norm_topk_prob"] = moe.normalised;
    json["routed_scaling_factor"] = moe.scale;
    json["first_k_dense_replace"] = moe.dense_layers.size();
    return;
  }
  if (config.naming == WeightNaming::Mixtral) {
    json["num_local_experts"] = moe.experts;
    if (moe.selection_bias) json["foretell_selection_bias"] = true;
    if (moe.zero > 0) json["foretell_zero_experts"] = moe.zero;
    if (moe.copy > 0) json["foretell_copy_experts"] = moe.copy;
    if (moe.constant > 0) json["foretell_constant_experts"] = moe.constant;
    return;
  }
  json["num_experts"] = moe.experts;
  json["norm_topk_prob"] = moe.normalised;
  if (config.qk_norm == QkNorm::Projection) return;  // olmoe's experts are its intermediate_size wide, in every layer
  json["moe_intermediate_size"] = moe.expert_size;
  json["decoder_sparse_step"] = 1;
  json["mlp_only_layers"] = moe.dense_layers;
  if (moe.shared_size > 0) json["shared_expert_intermediate_size"] = moe.shared_size;
}

}  // namespace foretell::formats
