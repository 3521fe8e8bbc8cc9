#include "framework/training/autograd/trainable_transformer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "framework/core/counter_normal.h"
#include "framework/core/error.h"
#include "framework/formats/model_weights.h"
#include "framework/model/experts.h"
#include "framework/model/rope.h"
#include "framework/model/stored_values.h"
#include "framework/training/autograd/induction_start.h"

namespace foretell::autograd {
namespace {

// What lies in a fused matrix one below the other.
struct MatrixPart {
  const char* stem;
  std::int64_t rows;
};

// The graph has what llama, qwen2 and gpt2 are made of.
void check_trainable(const formats::ModelConfig& config) {
  const char* reason = nullptr;
  const bool mixture = config.naming == formats::WeightNaming::Mixtral;
  if (config.naming != formats::WeightNaming::Llama && config.naming != formats::WeightNaming::Gpt2 && !mixture)
    reason = "the layout of its weights";
  if (config.parallel_residual) reason = "attention beside its MLP";
  if (config.qk_norm != formats::QkNorm::None || config.qkv_limit) reason = "norms on queries and keys";
  if (config.sliding_window > 0 && config.sliding_window < config.context) reason = "a sliding window";
  if (config.moe.experts > 0 && (!mixture || config.moe.shared_size > 0)) reason = "this kind of experts";
  if (config.latent) reason = "latent attention";
  if (reason != nullptr)
    fail("{} model cannot be trained here: {} is not supported; llama, qwen2, gpt2 and mixtral are",
         with_article(config.family), reason);
}

at::Tensor leaf(std::initializer_list<std::int64_t> shape, at::Device device) {
  return at::zeros(shape, at::TensorOptions().device(device)).requires_grad_();
}

}  // namespace

TrainableTransformer::TrainableTransformer(formats::ModelConfig config, at::Device device)
    : config_(std::move(config)) {
  check_trainable(config_);
  const std::int64_t hidden = config_.hidden_size;
  embedding_ = leaf({config_.vocab_size, hidden}, device);
  if (config_.position == formats::PositionKind::Learned) positions_ = leaf({config_.context, hidden}, device);
  for (int layer = 0; layer < config_.num_layers; ++layer) layers_.push_back(make_layer(layer, device));
  const bool biased = config_.norm == formats::NormKind::Layer;
  final_norm_ = {leaf({hidden}, device), biased ? leaf({hidden}, device) : at::Tensor()};
  if (!config_.tie_embeddings) head_ = leaf({config_.vocab_size, hidden}, device);
  if (config_.position != formats::PositionKind::Rope) return;
  frequencies_ = model::rope_frequencies(config_);
  magnitude_ = model::rope_magnitude(config_.rope);
}

TrainableTransformer::Layer TrainableTransformer::make_layer(int index, at::Device device) const {
  const formats::ModelConfig& c = config_;
  const auto matrix = [&](std::int64_t out, std::int64_t in, bool biased) {
    return Matrix{leaf({out, in}, device), biased ? leaf({out}, device) : at::Tensor()};
  };
  const auto norm = [&] {
    return NamedNorm{leaf({c.hidden_size}, device),
                     c.norm == formats::NormKind::Layer ? leaf({c.hidden_size}, device) : at::Tensor()};
  };
  const std::int64_t query = std::int64_t{c.num_heads} * c.head_dim;
  const std::int64_t key = std::int64_t{c.num_kv_heads} * c.head_dim;
  const std::int64_t up = c.gated_mlp ? 2 * std::int64_t{c.intermediate_size} : c.intermediate_size;
  Layer layer{.attention_norm = norm(),
              .qkv = matrix(query + 2 * key, c.hidden_size, c.qkv_bias),
              .output = matrix(c.hidden_size, query, c.output_bias),
              .mlp_norm = norm(),
              .up = {},
              .down = {}};
  if (c.is_sparse(index)) {
    layer.experts = make_experts(device);
    return layer;
  }
  layer.up = matrix(up, c.hidden_size, c.mlp_bias);
  layer.down = matrix(c.hidden_size, c.intermediate_size, c.mlp_bias);
  return layer;
}

TrainableExperts TrainableTransformer::make_experts(at::Device device) const {
  const std::int64_t hidden = config_.hidden_size, size = config_.moe.expert_size;
  TrainableExperts experts{.gate = leaf({config_.moe.routed(), hidden}, device), .selection_bias = {}, .experts = {}};
  if (config_.moe.selection_bias) experts.selection_bias = leaf({config_.moe.routed()}, device);
  for (int i = 0; i < config_.moe.experts; ++i)
    experts.experts.push_back({leaf({2 * size, hidden}, device), leaf({hidden, size}, device)});
  for (int i = 0; i < config_.moe.constant; ++i)
    experts.constants.push_back({leaf({2, hidden}, device), leaf({1, hidden}, device)});
  return experts;
}

// ---- The forward
// ----------------------------------------------------------------------------------------------------------------------

at::Tensor TrainableTransformer::normed(const at::Tensor& x, const NamedNorm& norm) const {
  if (config_.norm == formats::NormKind::Layer)
    return at::layer_norm(x, {x.size(1)}, norm.gain, norm.bias, config_.norm_eps);
  return rms_norm_training(x, norm.gain, config_.norm_eps);
}

SumAndNorm TrainableTransformer::sum_and_norm(const at::Tensor& x, const at::Tensor& y, const NamedNorm& norm) const {
  if (config_.norm == formats::NormKind::Rms) return add_norm_training(x, y, norm.gain, config_.norm_eps);
  const at::Tensor sum = x + y;
  return {sum, normed(sum, norm)};
}

at::Tensor TrainableTransformer::mlp_of(int index, const at::Tensor& normed, const RoutedBatch* routed,
                                        ExpertRun& experts) const {
  const Layer& layer = layers_[index];
  if (layer.experts)
    return experts_training(normed, *layer.experts, index, *routed, config_.activation, experts.layers.emplace_back());
  const at::Tensor up = at::linear(normed, layer.up.weight, layer.up.bias);
  const at::Tensor active =
      config_.gated_mlp ? gated_training(up, config_.activation) : activate_training(up, config_.activation);
  return at::linear(active, layer.down.weight, layer.down.bias);
}

LayerStates TrainableTransformer::forward(const TrainBatch& batch, const LayerPlan& plan, ExpertRun* experts,
                                          const at::Tensor& added) const {
  LayerStates out;
  const auto times = [](const at::Tensor& rows, const Matrix& matrix) {
    return at::linear(rows, matrix.weight, matrix.bias);
  };
  const kernels::HeadLayout layout{config_.num_heads, config_.num_kv_heads, config_.head_dim, config_.rope.interleaved};
  TrainingAttention attention{layout, rotary_rows(batch.positions, frequencies_, magnitude_, device()), batch.groups,
                              1};
  ExpertRun own;
  ExpertRun& run = experts ? *experts : own;
  const ExpertRule rule = model::expert_rule(config_.moe);
  std::optional<RoutedBatch> routed;
  if (config_.moe.experts > 0)
    routed.emplace(routed_batch(run.router ? *run.router : model::checkpoint_router(), rule, batch));
  at::Tensor x = at::embedding(embedding_, batch.tokens);
  if (positions_.defined()) x = x + at::embedding(positions_, batch.positions);
  if (added.defined()) x = x + added;
  SumAndNorm state{x, normed(x, layers_[0].attention_norm)};
  for (int index = 0; index < config_.num_layers; ++index) {
    const Layer& layer = layers_[index];
    const bool scaled = !plan.factors.empty() && plan.factors[static_cast<std::size_t>(index)].defined();
    const auto kept = [&](const at::Tensor& rows) {
      return scaled ? rows * plan.factors[static_cast<std::size_t>(index)] : rows;
    };
    attention.scale = config_.attention_scaled ? 1.0 / std::sqrt(config_.head_dim) : 1.0;
    if (config_.attention_scaled_by_layer) attention.scale /= index + 1;
    const at::Tensor attended = times(attend_training(times(state.normed, layer.qkv), attention), layer.output);
    state = sum_and_norm(state.sum, kept(attended), layer.mlp_norm);
    const bool last = index + 1 == config_.num_layers;
    state = sum_and_norm(state.sum, kept(mlp_of(index, state.normed, routed ? &*routed : nullptr, run)),
                         last ? final_norm_ : layers_[index + 1].attention_norm);
    if (std::binary_search(plan.states.begin(), plan.states.end(), index + 1)) out.states.push_back(state.sum);
  }
  out.normed = state.normed;
  return out;
}

std::vector<std::pair<int, at::Tensor>> TrainableTransformer::selection_biases() const {
  std::vector<std::pair<int, at::Tensor>> out;
  for (int index = 0; index < config_.num_layers; ++index)
    if (layers_[index].experts) out.emplace_back(index, layers_[index].experts->selection_bias);
  return out;
}

at::Tensor TrainableTransformer::logits(const at::Tensor& state) const { return at::linear(state, head()); }

// ---- The weights
// ----------------------------------------------------------------------------------------------------------------------

void TrainableTransformer::each_tensor(const Visit& visit) const {
  const auto norm = [&](const std::string& name, const NamedNorm& n) {
    visit(name + ".gain", n.gain, false);
    if (n.bias.defined()) visit(name + ".bias", n.bias, false);
  };
  const auto matrix = [&](const std::string& name, const Matrix& m) {
    visit(name + ".weight", m.weight, true);
    if (m.bias.defined()) visit(name + ".bias", m.bias, false);
  };
  visit("embedding", embedding_, false);
  if (positions_.defined()) visit("positions", positions_, false);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const std::string stem = fmt::format("layers.{}.", i);
    norm(stem + "attention_norm", layers_[i].attention_norm);
    matrix(stem + "qkv", layers_[i].qkv);
    matrix(stem + "output", layers_[i].output);
    norm(stem + "mlp_norm", layers_[i].mlp_norm);
    if (!layers_[i].experts) {
      matrix(stem + "up", layers_[i].up);
      matrix(stem + "down", layers_[i].down);
      continue;
    }
    const TrainableExperts& experts = *layers_[i].experts;
    visit(stem + "gate.weight", experts.gate, true);
    if (experts.selection_bias.defined()) visit(stem + "gate.selection_bias", experts.selection_bias, false);
    for (std::size_t expert = 0; expert < experts.experts.size(); ++expert) {
      visit(fmt::format("{}experts.{}.up", stem, expert), experts.experts[expert].up, true);
      visit(fmt::format("{}experts.{}.down", stem, expert), experts.experts[expert].down, true);
    }
    for (std::size_t i = 0; i < experts.constants.size(); ++i) {
      visit(fmt::format("{}constant_experts.{}.mix", stem, i), experts.constants[i].mix, true);
      visit(fmt::format("{}constant_experts.{}.value", stem, i), experts.constants[i].value, false);
    }
  }
  norm("final_norm", final_norm_);
  if (head_.defined()) visit("head", head_, false);
}

std::vector<TrainParameter> TrainableTransformer::parameters() const {
  std::vector<TrainParameter> all;
  each_tensor([&](const std::string& name, const at::Tensor& value, bool decays) {
    all.push_back({name, value, decays});
  });
  return all;
}

std::int64_t TrainableTransformer::parameter_count() const {
  std::int64_t count = 0;
  each_tensor([&](const std::string&, const at::Tensor& value, bool) { count += value.numel(); });
  return count;
}

void TrainableTransformer::freeze() {
  each_tensor([](const std::string&, const at::Tensor& value, bool) { value.requires_grad_(false); });
}

void TrainableTransformer::add_layer_weights(int index, Views& views) const {
  const Layer& layer = layers_[index];
  const auto add = [&](const std::string& part, const at::Tensor& value) {
    if (value.defined()) views[formats::layer_weight_name(config_.naming, index, part)] = value.detach();
  };
  const auto add_parts = [&](const Matrix& matrix, std::initializer_list<MatrixPart> parts) {
    std::int64_t row = 0;
    for (const MatrixPart& part : parts) {
      add(fmt::format("{}.weight", part.stem), matrix.weight.detach().narrow(0, row, part.rows));
      if (matrix.bias.defined()) add(fmt::format("{}.bias", part.stem), matrix.bias.detach().narrow(0, row, part.rows));
      row += part.rows;
    }
  };
  if (config_.naming == formats::WeightNaming::Gpt2) {
    for (const auto& [stem, matrix] : {std::pair{"attn.c_attn", &layer.qkv}, std::pair{"attn.c_proj", &layer.output},
                                       std::pair{"mlp.c_fc", &layer.up}, std::pair{"mlp.c_proj", &layer.down}}) {
      add(fmt::format("{}.weight", stem), matrix->weight.detach().t());
      add(fmt::format("{}.bias", stem), matrix->bias);
    }
    for (const auto& [stem, norm] : {std::pair{"ln_1", &layer.attention_norm}, std::pair{"ln_2", &layer.mlp_norm}}) {
      add(fmt::format("{}.weight", stem), norm->gain);
      add(fmt::format("{}.bias", stem), norm->bias);
    }
    return;
  }
  const std::int64_t query = std::int64_t{config_.num_heads} * config_.head_dim;
  const std::int64_t key = std::int64_t{config_.num_kv_heads} * config_.head_dim;
  add("input_layernorm.weight", layer.attention_norm.gain);
  add_parts(layer.qkv, {{"self_attn.q_proj", query}, {"self_attn.k_proj", key}, {"self_attn.v_proj", key}});
  add_parts(layer.output, {{"self_attn.o_proj", config_.hidden_size}});
  add("post_attention_layernorm.weight", layer.mlp_norm.gain);
  if (!layer.experts) {
    add_parts(layer.up, {{"mlp.gate_proj", config_.intermediate_size}, {"mlp.up_proj", config_.intermediate_size}});
    add_parts(layer.down, {{"mlp.down_proj", config_.hidden_size}});
    return;
  }
  const formats::ExpertNames names = formats::expert_names(config_.naming);
  const std::string block = names.block;
  add(block + "gate.weight", layer.experts->gate);
  add(block + "gate.e_score_correction_bias", layer.experts->selection_bias);
  for (std::size_t i = 0; i < layer.experts->experts.size(); ++i) {
    const TrainableExpert& expert = layer.experts->experts[i];
    const std::string stem = fmt::format("{}experts.{}.", block, i);
    const std::int64_t size = config_.moe.expert_size;
    add(fmt::format("{}{}.weight", stem, names.gate), expert.up.detach().narrow(0, 0, size));
    add(fmt::format("{}{}.weight", stem, names.up), expert.up.detach().narrow(0, size, size));
    add(fmt::format("{}{}.weight", stem, names.down), expert.down);
  }
  for (std::size_t i = 0; i < layer.experts->constants.size(); ++i) {
    add(fmt::format("{}constant_experts.{}.mix.weight", block, i), layer.experts->constants[i].mix);
    add(fmt::format("{}constant_experts.{}.value.weight", block, i), layer.experts->constants[i].value);
  }
}

std::vector<NamedWeight> TrainableTransformer::named_weights() const {
  const bool gpt2 = config_.naming == formats::WeightNaming::Gpt2;
  Views views;
  views[gpt2 ? "transformer.wte.weight" : "model.embed_tokens.weight"] = embedding_.detach();
  if (positions_.defined()) views["transformer.wpe.weight"] = positions_.detach();
  for (int layer = 0; layer < config_.num_layers; ++layer) add_layer_weights(layer, views);
  views[gpt2 ? "transformer.ln_f.weight" : "model.norm.weight"] = final_norm_.gain.detach();
  if (final_norm_.bias.defined()) views["transformer.ln_f.bias"] = final_norm_.bias.detach();
  if (head_.defined()) views["lm_head.weight"] = head_.detach();
  std::vector<NamedWeight> weights;
  for (formats::WeightSpec& spec : formats::weight_list(config_)) {
    const auto view = views.find(spec.name);
    if (view == views.end()) fail("models with a weight like '{}' cannot be trained", spec.name);
    FORETELL_CHECK(view->second.sizes() == at::IntArrayRef(spec.shape), "{}: {}", spec.name,
                   formats::to_string(spec.shape));
    weights.push_back({std::move(spec), view->second});
  }
  return weights;
}

void TrainableTransformer::initialise(std::uint64_t seed, Start start) {
  const float residual = 1.0f / std::sqrt(2.0f * static_cast<float>(config_.num_layers));
  for (const NamedWeight& weight : named_weights()) {
    const std::string& name = weight.spec.name;
    if (weight.spec.kind == formats::WeightKind::Gain || weight.spec.kind == formats::WeightKind::Bias) {
      weight.value.fill_(weight.spec.kind == formats::WeightKind::Gain ? 1 : 0);
      continue;
    }
    const bool writes_residual = name.find("o_proj") != std::string::npos ||
                                 name.find("down_proj") != std::string::npos ||
                                 name.find("c_proj") != std::string::npos || name.find(".w2.") != std::string::npos;
    const float deviation = 0.02f * (writes_residual ? residual : 1.0f);
    const std::uint64_t key = mix64(seed ^ mix64(name_hash(name)));
    at::Tensor values = at::empty(weight.spec.shape);
    float* data = values.mutable_data_ptr<float>();
    for (std::int64_t i = 0; i < values.numel(); ++i)
      data[i] = deviation * normal_at(key, static_cast<std::uint64_t>(i));
    weight.value.copy_(values);
  }
  if (start == Start::Normal) return;
  for (Layer& layer : layers_) mimic_attention(layer);
  if (start == Start::Induction) start_with_induction(config_, named_weights());
}

// The strengths were tried on the generated tasks; docs/guide/training.md has the numbers.
void TrainableTransformer::mimic_attention(Layer& layer) const {
  constexpr double kScale = 2, kLikeKey = 0.8, kLikeValue = 0.25;
  const std::int64_t dim = config_.head_dim, queries = config_.num_heads * dim, keys = config_.num_kv_heads * dim;
  const at::Tensor qkv = layer.qkv.weight.detach(), output = layer.output.weight.detach();
  qkv.mul_(kScale);
  for (std::int64_t head = 0; head < config_.num_heads; ++head) {
    const std::int64_t shared = head * config_.num_kv_heads / config_.num_heads * dim;
    const at::Tensor query = qkv.narrow(0, head * dim, dim), key = qkv.narrow(0, queries + shared, dim);
    query.mul_(std::sqrt(1 - kLikeKey * kLikeKey)).add_(key, kLikeKey);
    output.narrow(1, head * dim, dim).add_(qkv.narrow(0, queries + keys + shared, dim).t(), kLikeValue);
  }
}

// NOLINTNEXTLINE(readability-make-member-function-const): it changes what the tensors hold
void TrainableTransformer::load(const std::filesystem::path& folder) {
  const formats::Checkpoint checkpoint = formats::Checkpoint::open(folder);
  const formats::ModelWeights stored(checkpoint, config_);
  for (const NamedWeight& weight : named_weights())
    weight.value.copy_(model::tensor_of(*stored.find(weight.spec.name), weight.spec.name));
}

model::ExpertBlock TrainableTransformer::snapshot_experts(
    int index, const std::function<at::Tensor(const at::Tensor&)>& copy) const {
  const TrainableExperts& experts = *layers_[index].experts;
  model::ExpertWeights weights{
      .gate = copy(experts.gate), .selection_bias = {}, .experts = {}, .shared = {}, .shared_gate = {}};
  // As it is loaded: not rounded, or biases of experts that are used alike would fall together.
  if (experts.selection_bias.defined()) weights.selection_bias = experts.selection_bias.detach().clone();
  for (const TrainableExpert& expert : experts.experts) {
    model::Expert made{model::Linear(copy(expert.up), {}), model::Linear(copy(expert.down), {})};
    made.up.pack({.gated = true});
    made.down.pack();
    weights.experts.push_back(std::move(made));
  }
  for (const TrainableConstant& constant : experts.constants)
    weights.constants.push_back({copy(constant.mix), copy(constant.value)});
  return model::ExpertBlock(config_, index, std::move(weights));
}

std::shared_ptr<const model::LanguageModel> TrainableTransformer::snapshot(at::ScalarType stored) const {
  const auto copy = [&](const at::Tensor& t) {
    return t.defined() ? t.detach().to(stored, false, true).to(at::kFloat) : t;
  };
  const auto norm = [&](const NamedNorm& n) {
    return model::Norm{config_.norm, config_.norm_eps, copy(n.gain), copy(n.bias)};
  };
  const auto matrix = [&](const at::Tensor& weight, const at::Tensor& bias, bool gated = false) {
    model::Linear linear(copy(weight), copy(bias));
    linear.pack({.gated = gated});
    return linear;
  };
  model::TransformerWeights weights;
  weights.embedding = copy(embedding_);
  weights.positions = copy(positions_);
  for (int index = 0; index < config_.num_layers; ++index) {
    const Layer& layer = layers_[index];
    if (layer.experts) {
      weights.layers.push_back({.attention_norm = norm(layer.attention_norm),
                                .qkv = matrix(layer.qkv.weight, layer.qkv.bias),
                                .output = matrix(layer.output.weight, layer.output.bias),
                                .mlp_norm = norm(layer.mlp_norm),
                                .experts = snapshot_experts(index, copy)});
      continue;
    }
    weights.layers.push_back({.attention_norm = norm(layer.attention_norm),
                              .qkv = matrix(layer.qkv.weight, layer.qkv.bias),
                              .output = matrix(layer.output.weight, layer.output.bias),
                              .mlp_norm = norm(layer.mlp_norm),
                              .up = matrix(layer.up.weight, layer.up.bias, config_.gated_mlp),
                              .down = matrix(layer.down.weight, layer.down.bias)});
  }
  weights.final_norm = norm(final_norm_);
  weights.head = matrix(head(), {});
  return std::make_shared<model::Transformer>(config_, std::move(weights));
}

}  // namespace foretell::autograd
