#include "framework/training/learners/feature_learner.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/dot.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/smooth_l1_loss.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include "framework/core/error.h"
#include "framework/core/mix.h"
#include "framework/model/heads/eagle_head.h"
#include "framework/training/learners/heads.h"
#include "framework/training/settings.h"

namespace foretell::training::learners {
namespace {

using model::heads::EagleHead;

// Between -1/2 and 1/2: a function of the batch, so that a run that goes on has the same.
at::Tensor noise(const autograd::TrainBatch& batch) {
  const at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(batch_hash(batch));
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
  config_ = model::heads::layer_config_for(target_->config());
  config_.dtype = save_dtype_ == "bf16" ? "bfloat16" : "float32";
  const std::int64_t hidden = config_.hidden_size, seed = inputs.settings.model.init_seed;
  fc_ = new_matrix("fc", hidden, 2 * hidden, seed, inputs.device);
  fc_bias_ = at::zeros({hidden}, fc_.options()).requires_grad_();
  layer_ = UnrolledLayer(config_, hidden, seed, inputs.device);
}

std::vector<autograd::TrainParameter> FeatureLearner::parameters() const {
  std::vector<autograd::TrainParameter> all = {{"fc", fc_, true}, {"fc_bias", fc_bias_, false}};
  layer_.add_parameters(all);
  return all;
}

at::Tensor FeatureLearner::read_states(const autograd::TrainBatch& batch) const {
  const at::Tensor& states = batch.target.final_state;
  return options_.noise > 0 ? states + noise(batch) * options_.noise : states;
}

at::Tensor FeatureLearner::step(const autograd::TrainBatch& batch, const at::Tensor& states,
                                std::vector<autograd::UnrolledStep>& steps) const {
  const auto number = static_cast<std::int64_t>(steps.size());
  const at::Tensor behind = shifted(tokens_behind(batch, next_tokens(batch)), batch, number, 0);
  const at::Tensor x = at::linear(at::cat({embedded(*target_, behind).to(states.device()), states}, 1), fc_, fc_bias_);
  return layer_.forward(batch, x, x, steps);
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
  model::heads::HeadTensors tensors;
  for (const auto& [name, value] : named()) tensors[name] = value;
  const EagleHead head = EagleHead::made_of(config_, tensors, "the head in training", target_);
  return draft_hits_of(head, batch, batch.target.final_state, depth);
}

void FeatureLearner::save(const std::filesystem::path& folder) const {
  write_head(folder / "model.safetensors", named(), save_dtype_);
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
NamedTensorList FeatureLearner::named() const {
  NamedTensorList all = {{"fc.weight", fc_.detach()}, {"fc.bias", fc_bias_.detach()}};
  layer_.add_named(all, "layers.0.");
  return all;
}

}  // namespace foretell::training::learners
