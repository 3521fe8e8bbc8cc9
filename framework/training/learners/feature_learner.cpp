#include "framework/training/learners/feature_learner.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/dot.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/smooth_l1_loss.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

#include <cmath>

#include "framework/core/error.h"
#include "framework/core/mix.h"
#include "framework/model/heads/eagle_head.h"
#include "framework/model/rope.h"
#include "framework/training/learners/heads.h"
#include "framework/training/settings.h"

namespace foretell::training::learners {
namespace {

using model::heads::EagleHead;

// The token behind each row, 0 where the batch does not say.
at::Tensor tokens_behind(const autograd::TrainBatch& batch, const NextTokens& next) {
  return at::where(next.token.ge(0), next.token, shifted(batch.tokens, batch, 1, 0));
}

// Between -1/2 and 1/2: a function of the batch, so that a run that goes on has the same.
at::Tensor noise(const autograd::TrainBatch& batch) {
  const at::Tensor ids = batch.tokens.to(at::kCPU).contiguous();
  std::uint64_t seed = 0;
  for (const std::int64_t id : std::span(ids.const_data_ptr<std::int64_t>(), static_cast<std::size_t>(ids.numel())))
    seed = mix64(seed ^ static_cast<std::uint64_t>(id));
  const at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  return at::rand(batch.target.final_state.sizes(), generator).to(batch.target.final_state.device()) - 0.5;
}

}  // namespace

void FeatureLossOptions::declare(Parameters& p) {
  where = p.where();
  p.add("regression", regression, "weight of the smooth L1 distance of states", {.min = 0.0});
  p.add("divergence", divergence, "weight of KL(target || draft) of the tokens' distributions", {.min = 0.0});
  p.add("noise", noise, "width of the uniform noise on the states that are read", {.min = 0.0});
}

FeatureLearner::FeatureLearner(FeatureLossOptions options) : options_(std::move(options)) {
  if (options_.regression + options_.divergence <= 0)
    fail_at(options_.where, "regression and divergence are both 0: nothing is learned");
}

void FeatureLearner::set_up(const LearnerInputs& inputs) {
  target_ = inputs.target;
  save_dtype_ = inputs.settings.run.save_dtype;
  output_ = head_matrix(*target_, target()->where).to(inputs.device);
  config_ = EagleHead::config_for(target_->config());
  config_.dtype = save_dtype_ == "bf16" ? "bfloat16" : "float32";
  frequencies_ = model::rope_frequencies(config_);
  const std::int64_t hidden = config_.hidden_size, inner = config_.intermediate_size;
  const auto matrix = [&](const char* name, std::int64_t out, std::int64_t in) {
    const double deviation = 1 / std::sqrt(3.0 * static_cast<double>(in));
    return leaf({out, in}, deviation, inputs.settings.model.init_seed, name)
        .detach()
        .to(inputs.device)
        .requires_grad_();
  };
  fc_ = matrix("fc", hidden, 2 * hidden);
  fc_bias_ = at::zeros({hidden}, fc_.options()).requires_grad_();
  qkv_ = matrix("qkv", queries() + 2 * keys(), hidden);
  attended_ = matrix("output", hidden, queries());
  norm_ = at::ones({hidden}, at::TensorOptions().device(inputs.device)).requires_grad_();
  up_ = matrix("up", 2 * inner, hidden);
  down_ = matrix("down", hidden, inner);
}

std::vector<autograd::TrainParameter> FeatureLearner::parameters() const {
  return {{"fc", fc_, true},           {"fc_bias", fc_bias_, false}, {"qkv", qkv_, true},
          {"output", attended_, true}, {"mlp_norm", norm_, false},   {"up", up_, true},
          {"down", down_, true}};
}

at::Tensor FeatureLearner::read_states(const autograd::TrainBatch& batch) const {
  const at::Tensor& states = batch.target.final_state;
  return options_.noise > 0 ? states + noise(batch) * options_.noise : states;
}

at::Tensor FeatureLearner::step(const autograd::TrainBatch& batch, const at::Tensor& states,
                                std::vector<autograd::UnrolledStep>& steps) const {
  const auto number = static_cast<std::int64_t>(steps.size());
  const at::Tensor behind = shifted(tokens_behind(batch, next_tokens(batch)), batch, number, 0);
  at::Tensor x = at::linear(at::cat({embedded(*target_, behind).to(states.device()), states}, 1), fc_, fc_bias_);
  steps.push_back(
      {at::linear(x, qkv_), autograd::rotary_rows(batch.positions + number, frequencies_, 1, states.device())});
  const autograd::TrainingAttention attention{
      {config_.num_heads, config_.num_kv_heads, config_.head_dim, config_.rope.interleaved},
      steps.back().rotary,
      batch.groups,
      1 / std::sqrt(static_cast<double>(config_.head_dim))};
  x = x + at::linear(autograd::attend_unrolled_training(steps, attention), attended_);
  const at::Tensor normed = autograd::rms_norm_training(x, norm_, config_.norm_eps);
  return x + at::linear(autograd::gated_training(at::linear(normed, up_), config_.activation), down_);
}

FeatureLearner::Said FeatureLearner::said(const autograd::TrainBatch& batch, const at::Tensor& states, int step) const {
  const std::int64_t ahead = step + 1;
  const at::Tensor chosen = batch.positions.index_select(0, batch.loss_rows).ge(ahead).nonzero().view({-1});
  const auto pick = [&](const at::Tensor& of) { return of.index_select(0, chosen); };
  const at::Tensor rows = pick(batch.loss_rows);
  return {at::embedding(states, rows - ahead), batch.target.final_state.index_select(0, rows), pick(batch.targets),
          pick(batch.weights)};
}

FeatureLearner::Terms FeatureLearner::terms(const autograd::TrainBatch& batch, const Said& said) const {
  const at::Tensor distance =
      at::dot(at::smooth_l1_loss(said.state, said.expected, at::Reduction::None).mean(-1), said.weights) /
      batch.normaliser;
  const autograd::DistillLoss apart =
      autograd::distill_loss_training(said.state, output_, said.targets, said.weights, {said.expected, output_},
                                      {.ce = 0, .kl = 1, .tvd = 0, .temperature = 1});
  const at::Tensor divergence = apart.total / batch.normaliser;
  return {distance * options_.regression + divergence * options_.divergence, distance.detach(), divergence.detach()};
}

at::Tensor FeatureLearner::draft_hits(const autograd::TrainBatch& batch, int depth) const {
  const c10::NoGradGuard no_grad;
  EagleHead::Tensors tensors;
  for (const auto& [name, value] : named()) tensors[name] = value;
  const EagleHead head = EagleHead::made_of(config_, tensors, "the head in training", target_);
  const NextTokens next = next_tokens(batch);
  const at::Tensor behind = tokens_behind(batch, next).to(at::kInt).contiguous();
  at::Tensor hits = at::full_like(next.token, -1).unsqueeze(0).repeat({depth, 1});
  for (const autograd::RowGroup& group : batch.groups)
    for (std::int64_t i = 0; i < group.sequences; ++i)
      add_hits(head, batch, {group.first_row + i * group.length, group.length}, behind, next.token, hits);
  return hits;
}

void FeatureLearner::add_hits(const EagleHead& head, const autograd::TrainBatch& batch, Sequence at,
                              const at::Tensor& behind, const at::Tensor& next, at::Tensor& hits) {
  const c10::InferenceMode inference;
  const std::int64_t length = at.length, depth = hits.size(0);
  const auto part = [&](const at::Tensor& of) { return of.narrow(0, at.first, length); };
  const at::Tensor row = part(batch.positions).to(at::kCPU);
  const at::Tensor own = row.unsqueeze(1).eq(row.unsqueeze(0)), before = row.unsqueeze(1).ge(row.unsqueeze(0));
  Tokens tokens;
  std::vector<int> positions;
  at::Tensor states = part(batch.target.final_state), fed = states;
  for (std::int64_t step = 0; step < depth && step + 1 < length; ++step) {
    const auto ids = std::span(part(behind).const_data_ptr<std::int32_t>(), static_cast<std::size_t>(length));
    for (std::int64_t t = 0; t < length; ++t) {
      tokens.push_back(ids[static_cast<std::size_t>(std::min(t + step, length - 1))]);
      positions.push_back(static_cast<int>(t + step));
    }
    if (step > 0) states = at::cat({states, fed});
    // Rows of step s see what rows of step 0 see, and those of the same draft from step 1 to s.
    const std::int64_t steps = step + 1;
    at::Tensor visible = at::zeros({steps * length, steps * length}, at::kBool);
    for (std::int64_t s = 0; s < steps; ++s) {
      visible.narrow(0, s * length, length).narrow(1, 0, length).copy_(before);
      for (std::int64_t seen = 1; seen <= s; ++seen)
        visible.narrow(0, s * length, length).narrow(1, seen * length, length).copy_(own);
    }
    const auto cache = head.make_cache(static_cast<int>(steps * length));
    const model::ForwardItem item{head.fuse(tokens, states), model::MaskedShape{positions, visible}, cache.get(),
                                  model::LogitRows::None};
    fed = head.forward(std::span(&item, 1)).narrow(0, step * length, length);
    const at::Tensor best = head.logits(fed).argmax(-1).narrow(0, 0, length - steps);
    const at::Tensor expected = part(next).narrow(0, steps, length - steps);
    hits[step]
        .narrow(0, at.first, length - steps)
        .copy_(at::where(expected.lt(0), expected, best.eq(expected).to(at::kLong)));
  }
}

void FeatureLearner::save(const std::filesystem::path& folder) const {
  std::vector<std::pair<std::string, at::Tensor>> list;
  for (const auto& [name, value] : named()) list.emplace_back(name, value);
  write_head(folder / "model.safetensors", list, save_dtype_);
  formats::write_model_config(folder, config_);
}

std::optional<DraftedBy> FeatureLearner::drafter(const std::filesystem::path& folder, int depth) const {
  ConfigValue section = drafter_section("eagle", depth);
  section.set("head", ConfigValue::scalar(folder.string(), {}, true));
  return DraftedBy{section, {}};
}

std::string FeatureLearner::description() const {
  return fmt::format(
      "An EAGLE head of {:.2f} million parameters (one layer of hidden size {}) on the states of a "
      "target",
      static_cast<double>(parameter_count()) / 1e6, config_.hidden_size);
}

// Under the names of the published files.
std::vector<std::pair<std::string, at::Tensor>> FeatureLearner::named() const {
  const std::int64_t inner = config_.intermediate_size;
  return {{"fc.weight", fc_.detach()},
          {"fc.bias", fc_bias_.detach()},
          {"layers.0.self_attn.q_proj.weight", qkv_.detach().narrow(0, 0, queries())},
          {"layers.0.self_attn.k_proj.weight", qkv_.detach().narrow(0, queries(), keys())},
          {"layers.0.self_attn.v_proj.weight", qkv_.detach().narrow(0, queries() + keys(), keys())},
          {"layers.0.self_attn.o_proj.weight", attended_.detach()},
          {"layers.0.post_attention_layernorm.weight", norm_.detach()},
          {"layers.0.mlp.gate_proj.weight", up_.detach().narrow(0, 0, inner)},
          {"layers.0.mlp.up_proj.weight", up_.detach().narrow(0, inner, inner)},
          {"layers.0.mlp.down_proj.weight", down_.detach()}};
}

}  // namespace foretell::training::learners
