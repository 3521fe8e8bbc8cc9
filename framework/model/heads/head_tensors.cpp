#include "framework/model/heads/head_tensors.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "framework/core/counter_normal.h"
#include "framework/core/error.h"
#include "framework/core/printable.h"
#include "framework/model/stored_values.h"

namespace foretell::model::heads {

std::filesystem::path head_file(const std::filesystem::path& path, std::initializer_list<const char*> names,
                                const char* pickle) {
  if (!std::filesystem::is_directory(path)) return path;
  for (const char* name : names)
    if (std::filesystem::exists(path / name)) return path / name;
  if (std::filesystem::exists(path / pickle) && !std::filesystem::exists(path / "model.safetensors.index.json"))
    fail(
        "{} is a pickle, which is not read; convert it: python3 -c \"import torch, safetensors.torch as s; "
        "s.save_file({{k: v.clone() for k, v in torch.load('{}', map_location='cpu').items()}}, '{}')\"",
        (path / pickle).string(), pickle, *names.begin());
  return path;
}

HeadFile HeadFile::open(const std::filesystem::path& path) {
  HeadFile out;
  if (std::filesystem::is_directory(path)) {
    out.checkpoint_ = formats::Checkpoint::open(path);
    out.name_ = out.checkpoint_->name();
  } else {
    out.file_ = formats::SafetensorsFile::open(path);
    out.name_ = path.string();
  }
  return out;
}

HeadTensors HeadFile::load(bool (*ignored)(std::string_view)) const {
  HeadTensors out;
  for (const auto& [tensor, stored] : tensors())
    if (!ignored(tensor)) out[tensor] = tensor_of(stored, fmt::format("{}: '{}'", name_, printable(tensor)));
  return out;
}

bool is_rotary_buffer(std::string_view name) { return name.ends_with("rotary_emb.inv_freq"); }

at::Tensor random_tensor(const std::vector<std::int64_t>& shape, float deviation, std::uint64_t key) {
  at::Tensor out = at::empty(shape, at::kFloat);
  float* values = out.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < out.numel(); ++i) values[i] = deviation * normal_at(key, static_cast<std::uint64_t>(i));
  return out;
}

HeadTensors random_tensors(const std::vector<HeadTensor>& known, std::uint64_t seed, float noise) {
  HeadTensors out;
  for (const HeadTensor& tensor : known) {
    if (!tensor.required) continue;
    if (tensor.shape.size() == 1) {
      out[tensor.name] = tensor.name.ends_with(".bias") ? at::zeros(tensor.shape) : at::ones(tensor.shape);
      continue;
    }
    const float deviation = noise / std::sqrt(static_cast<float>(tensor.shape.back()));
    out[tensor.name] = random_tensor(tensor.shape, deviation, mix64(seed ^ mix64(name_hash(tensor.name))));
  }
  return out;
}

at::Tensor output_matrix(const LanguageModel& target) {
  const at::TensorOptions options = target.parts()->embed(Tokens{0}).options();
  return target.parts()->head().logits(at::eye(target.config().hidden_size, options)).t().contiguous();
}

double embedding_scale(const LanguageModel& target) {
  const at::Tensor some = target.parts()->embed(Tokens{0}).to(at::kFloat);
  return 1 / std::sqrt(some.square().mean().item<double>() + 1e-6);
}

NamedTensors::NamedTensors(const HeadTensors& tensors, const std::vector<HeadTensor>& known, const std::string& name,
                           const std::string& kind, const LanguageModel& target)
    : tensors_(tensors), options_(target.parts()->embed(Tokens{0}).options()) {
  for (const HeadTensor& tensor : known) {
    const auto found = tensors.find(tensor.name);
    if (found == tensors.end() && tensor.required) fail("{}: tensor '{}' is missing", name, tensor.name);
    if (found != tensors.end() && found->second.sizes() != at::IntArrayRef(tensor.shape))
      fail("{}: '{}' is {}, expected {}", name, tensor.name, formats::to_string(found->second.sizes().vec()),
           formats::to_string(tensor.shape));
  }
  for (const auto& entry : tensors)
    if (!is_rotary_buffer(entry.first) &&
        std::ranges::none_of(known, [&](const HeadTensor& t) { return t.name == entry.first; }))
      fail("{}: '{}' is no tensor of {} of this config", name, printable(entry.first), kind);
}

at::Tensor NamedTensors::get(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? at::Tensor() : found->second.to(options_, false, true).contiguous();
}

Linear NamedTensors::linear(const std::vector<std::string>& stems, const PackOptions& pack) const {
  std::vector<at::Tensor> weights, biases;
  for (const std::string& stem : stems) {
    weights.push_back(get(stem + ".weight"));
    if (const at::Tensor bias = get(stem + ".bias"); bias.defined()) biases.push_back(bias);
  }
  Linear out(at::cat(weights), biases.empty() ? at::Tensor() : at::cat(biases));
  out.pack(pack);
  return out;
}

Norm NamedTensors::norm(const std::string& stem, double eps) const {
  return {formats::NormKind::Rms, eps, get(stem + ".weight"), {}};
}

const char* unknown_layer(const formats::ModelConfig& config) {
  constexpr int kMostLayers = 64;
  if (config.naming != formats::WeightNaming::Llama || config.norm != formats::NormKind::Rms || config.latent ||
      config.moe.experts > 0 || config.qk_norm == formats::QkNorm::Projection || !config.gated_mlp || config.mlp_bias ||
      config.parallel_residual || config.position != formats::PositionKind::Rope)
    return "its layers are not Llama's";
  return config.num_layers > kMostLayers ? "it has too many layers" : nullptr;
}

void add_layer_tensors(std::vector<HeadTensor>& all, const formats::ModelConfig& config, const std::string& stem,
                       std::int64_t input) {
  const std::int64_t hidden = config.hidden_size, inner = config.intermediate_size,
                     queries = std::int64_t{config.num_heads} * config.head_dim,
                     keys = std::int64_t{config.num_kv_heads} * config.head_dim;
  const auto add = [&](const char* part, std::vector<std::int64_t> shape) {
    all.push_back({stem + part, std::move(shape), true});
  };
  add("self_attn.q_proj.weight", {queries, input});
  add("self_attn.k_proj.weight", {keys, input});
  add("self_attn.v_proj.weight", {keys, input});
  add("self_attn.o_proj.weight", {hidden, queries});
  if (config.qkv_bias) {
    add("self_attn.q_proj.bias", {queries});
    add("self_attn.k_proj.bias", {keys});
    add("self_attn.v_proj.bias", {keys});
  }
  if (config.output_bias) add("self_attn.o_proj.bias", {hidden});
  if (config.qk_norm == formats::QkNorm::Head) {
    add("self_attn.q_norm.weight", {config.head_dim});
    add("self_attn.k_norm.weight", {config.head_dim});
  }
  add("post_attention_layernorm.weight", {hidden});
  add("mlp.gate_proj.weight", {inner, hidden});
  add("mlp.up_proj.weight", {inner, hidden});
  add("mlp.down_proj.weight", {hidden, inner});
}

LayerWeights layer_weights(const NamedTensors& named, const formats::ModelConfig& config, const std::string& stem) {
  const double eps = config.norm_eps;
  LayerWeights out;
  out.attention_norm = named.norm(stem + "input_layernorm", eps);
  out.qkv = named.linear({stem + "self_attn.q_proj", stem + "self_attn.k_proj", stem + "self_attn.v_proj"});
  out.output = named.linear({stem + "self_attn.o_proj"});
  out.mlp_norm = named.norm(stem + "post_attention_layernorm", eps);
  out.up = named.linear({stem + "mlp.gate_proj", stem + "mlp.up_proj"}, {.gated = true});
  out.down = named.linear({stem + "mlp.down_proj"});
  out.query_norm = named.norm(stem + "self_attn.q_norm", eps);
  out.key_norm = named.norm(stem + "self_attn.k_norm", eps);
  return out;
}

formats::ModelConfig layer_config_for(const formats::ModelConfig& target) {
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

at::Tensor embed_tokens(const at::Tensor& own, const LanguageModel& target, TokenSpan tokens) {
  if (!own.defined()) return target.parts()->embed(tokens);
  at::Tensor ids = at::empty({static_cast<std::int64_t>(tokens.size())}, at::kLong);
  std::copy(tokens.begin(), tokens.end(), ids.mutable_data_ptr<std::int64_t>());
  return own.index_select(0, ids.to(own.device()));
}

}  // namespace foretell::model::heads
