#include "framework/model/heads/eagle_head.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "framework/core/counter_normal.h"
#include "framework/core/error.h"
#include "framework/core/printable.h"
#include "framework/formats/safetensors.h"
#include "framework/model/stored_values.h"

namespace foretell::model::heads {
namespace {

constexpr int kMostLayers = 64;

std::string layer_name(int layer, std::string_view part) { return fmt::format("layers.{}.{}", layer, part); }

void check_config(const formats::ModelConfig& config, const LanguageModel& target, const std::string& name) {
  const char* reason = nullptr;
  if (config.naming != formats::WeightNaming::Llama || config.norm != formats::NormKind::Rms || config.latent ||
      config.moe.experts > 0 || config.qk_norm != formats::QkNorm::None || !config.gated_mlp || config.mlp_bias ||
      config.parallel_residual || config.position != formats::PositionKind::Rope)
    reason = "its layers are not Llama's";
  if (config.num_layers > kMostLayers) reason = "it has too many layers";
  if (reason != nullptr) fail("{}: is no EAGLE head that is known here: {}", name, reason);
  if (config.hidden_size != target.config().hidden_size)
    fail("{}: its hidden size is {}, that of the target {}", name, config.hidden_size, target.config().hidden_size);
  if (config.vocab_rows() < target.config().vocab_size)
    fail("{}: its vocabulary is {}, that of the target {}", name, config.vocab_rows(), target.config().vocab_size);
}

// Some published files hold the rotary frequencies, which follow from the config.
bool is_ignored(std::string_view name) { return name.ends_with("rotary_emb.inv_freq"); }

// What tensors_of() names, each checked, converted to the target's type.
class Named {
 public:
  Named(const EagleHead::Tensors& tensors, const formats::ModelConfig& config, const std::string& name,
        const LanguageModel& target)
      : tensors_(tensors), options_(target.parts()->embed(Tokens{0}).options()) {
    const std::vector<EagleTensor> known = EagleHead::tensors_of(config);
    for (const EagleTensor& tensor : known) {
      const auto found = tensors.find(tensor.name);
      if (found == tensors.end() && tensor.required) fail("{}: tensor '{}' is missing", name, tensor.name);
      if (found != tensors.end() && found->second.sizes() != at::IntArrayRef(tensor.shape))
        fail("{}: '{}' is {}, expected {}", name, tensor.name, formats::to_string(found->second.sizes().vec()),
             formats::to_string(tensor.shape));
    }
    for (const auto& entry : tensors)
      if (!is_ignored(entry.first) &&
          std::ranges::none_of(known, [&](const EagleTensor& t) { return t.name == entry.first; }))
        fail("{}: '{}' is no tensor of an EAGLE head of this config", name, printable(entry.first));
  }

  at::Tensor get(const std::string& name) const {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? at::Tensor() : found->second.to(options_, false, true).contiguous();
  }
  // Matrices one below the other.
  Linear linear(const std::vector<std::string>& stems, const PackOptions& pack = {}) const {
    std::vector<at::Tensor> weights, biases;
    for (const std::string& stem : stems) {
      weights.push_back(get(stem + ".weight"));
      if (const at::Tensor bias = get(stem + ".bias"); bias.defined()) biases.push_back(bias);
    }
    Linear out(at::cat(weights), biases.empty() ? at::Tensor() : at::cat(biases));
    out.pack(pack);
    return out;
  }
  const at::TensorOptions& options() const { return options_; }

 private:
  const EagleHead::Tensors& tensors_;
  at::TensorOptions options_;
};

LayerWeights layer_weights(const Named& named, const formats::ModelConfig& config, int layer) {
  const auto norm = [&](const char* part) {
    return Norm{config.norm, config.norm_eps, named.get(layer_name(layer, part)), {}};
  };
  const auto stem = [&](const char* part) { return layer_name(layer, part); };
  LayerWeights out;
  out.attention_norm = norm("input_layernorm.weight");  // the first layer has none: rows go through as they are
  out.qkv = named.linear({stem("self_attn.q_proj"), stem("self_attn.k_proj"), stem("self_attn.v_proj")});
  out.output = named.linear({stem("self_attn.o_proj")});
  out.mlp_norm = norm("post_attention_layernorm.weight");
  out.up = named.linear({stem("mlp.gate_proj"), stem("mlp.up_proj")}, {.gated = true});
  out.down = named.linear({stem("mlp.down_proj")});
  return out;
}

}  // namespace

std::vector<EagleTensor> EagleHead::tensors_of(const formats::ModelConfig& config) {
  const std::int64_t hidden = config.hidden_size, inner = config.intermediate_size,
                     queries = std::int64_t{config.num_heads} * config.head_dim,
                     keys = std::int64_t{config.num_kv_heads} * config.head_dim;
  std::vector<EagleTensor> all = {{"embed_tokens.weight", {config.vocab_rows(), hidden}, false},
                                  {"fc.weight", {hidden, 2 * hidden}},
                                  {"fc.bias", {hidden}, false}};
  for (int layer = 0; layer < config.num_layers; ++layer) {
    const auto add = [&](const char* part, std::vector<std::int64_t> shape) {
      all.push_back({layer_name(layer, part), std::move(shape), true});
    };
    if (layer > 0) add("input_layernorm.weight", {hidden});
    add("self_attn.q_proj.weight", {queries, hidden});
    add("self_attn.k_proj.weight", {keys, hidden});
    add("self_attn.v_proj.weight", {keys, hidden});
    add("self_attn.o_proj.weight", {hidden, queries});
    if (config.qkv_bias) {
      add("self_attn.q_proj.bias", {queries});
      add("self_attn.k_proj.bias", {keys});
      add("self_attn.v_proj.bias", {keys});
    }
    if (config.output_bias) add("self_attn.o_proj.bias", {hidden});
    add("post_attention_layernorm.weight", {hidden});
    add("mlp.gate_proj.weight", {inner, hidden});
    add("mlp.up_proj.weight", {inner, hidden});
    add("mlp.down_proj.weight", {hidden, inner});
  }
  return all;
}

formats::ModelConfig EagleHead::config_for(const formats::ModelConfig& target) {
  formats::ModelConfig out;
  out.family = "llama";
  out.vocab_size = target.vocab_size;
  out.hidden_size = target.hidden_size;
  out.num_layers = 1;
  out.num_heads = target.num_heads;
  out.num_kv_heads = target.num_kv_heads;
  out.head_dim = target.head_dim - target.head_dim % 2;
  out.intermediate_size = target.intermediate_size;
  out.context = target.context;
  out.norm_eps = target.norm_eps;
  out.rope.theta = target.rope.theta;
  return out;
}

std::filesystem::path EagleHead::file_of(const std::filesystem::path& folder) {
  if (std::filesystem::path file = folder / "model.safetensors"; std::filesystem::exists(file)) return file;
  const std::filesystem::path pickle = folder / "pytorch_model.bin";
  if (std::filesystem::exists(pickle) && !std::filesystem::exists(folder / "model.safetensors.index.json"))
    fail(
        "{} is a pickle, which is not read; convert it: python3 -c \"import torch, safetensors.torch as s; "
        "s.save_file({{k: v.clone() for k, v in torch.load('pytorch_model.bin', map_location='cpu').items()}}, "
        "'model.safetensors')\"",
        pickle.string());
  return folder;
}

EagleHead EagleHead::made_of(const formats::ModelConfig& config, const Tensors& tensors, const std::string& name,
                             std::shared_ptr<const LanguageModel> target) {
  const c10::InferenceMode inference;
  check_config(config, *target, name);
  const Named named(tensors, config, name, *target);
  TransformerWeights weights;
  for (int layer = 0; layer < config.num_layers; ++layer) weights.layers.push_back(layer_weights(named, config, layer));
  weights.embedding = at::empty({1, config.hidden_size}, named.options());  // rows come in fused: never read
  EagleHead out;
  out.fc_ = named.linear({"fc"});
  out.embedding_ = named.get("embed_tokens.weight");
  out.layers_ = std::make_shared<Transformer>(config, std::move(weights));
  out.target_ = std::move(target);
  return out;
}

EagleHead EagleHead::load(const std::filesystem::path& folder, std::shared_ptr<const LanguageModel> target) {
  file_of(folder);
  const formats::Checkpoint checkpoint = formats::Checkpoint::open(folder);
  const formats::ModelConfig config = formats::load_model_config(folder);
  Tensors tensors;
  for (const auto& [name, stored] : checkpoint.tensors())
    if (!is_ignored(name))
      tensors[name] = tensor_of(stored, fmt::format("{}: '{}'", checkpoint.name(), printable(name)));
  return made_of(config, tensors, checkpoint.name(), std::move(target));
}

// The residual stream starts as the newest token's embedding, as the target's does, so that a target with random
// weights agrees with it now and then; all else is noise beside.
EagleHead EagleHead::random(std::uint64_t seed, std::shared_ptr<const LanguageModel> target) {
  constexpr float kNoise = 0.3F;
  const formats::ModelConfig config = config_for(target->config());
  Tensors tensors;
  for (const EagleTensor& tensor : tensors_of(config)) {
    if (!tensor.required) continue;
    at::Tensor value = at::ones(tensor.shape, at::kFloat);
    const std::uint64_t key = mix64(seed ^ mix64(name_hash(tensor.name)));
    const float deviation = kNoise / std::sqrt(static_cast<float>(tensor.shape.back()));
    float* values = value.mutable_data_ptr<float>();
    for (std::int64_t i = 0; tensor.shape.size() == 2 && i < value.numel(); ++i)
      values[i] = deviation * normal_at(key, static_cast<std::uint64_t>(i));
    tensors[tensor.name] = value;
  }
  const at::Tensor some = target->parts()->embed(Tokens{0}).to(at::kFloat);
  const double scale = 1 / std::sqrt(some.square().mean().item<double>() + 1e-6);
  tensors["fc.weight"].narrow(1, 0, config.hidden_size).diagonal().add_(scale);
  return made_of(config, tensors, "a random head", std::move(target));
}

at::Tensor EagleHead::fuse(TokenSpan tokens, const at::Tensor& features) const {
  const c10::InferenceMode inference;
  const auto embed = [&] {
    if (!embedding_.defined()) return target_->parts()->embed(tokens);
    at::Tensor ids = at::empty({static_cast<std::int64_t>(tokens.size())}, at::kLong);
    std::copy(tokens.begin(), tokens.end(), ids.mutable_data_ptr<std::int64_t>());
    return embedding_.index_select(0, ids.to(embedding_.device()));
  };
  const at::Tensor embedded = embed();
  return fc_.forward(at::cat({embedded, features.to(embedded.options())}, 1));
}

at::Tensor EagleHead::forward(std::span<const ForwardItem> batch) const {
  ForwardOptions options;
  options.return_final_state = true;
  return layers_->forward(batch, options).final_state;
}

at::Tensor EagleHead::logits(const at::Tensor& features) const { return target_->parts()->head().logits(features); }

}  // namespace foretell::model::heads
