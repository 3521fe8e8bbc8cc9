// The MLP speculator (Wertheimer et al. 2024, arXiv 2404.19124) on a frozen target: step s learns the token s + 2
// places behind a text from its state and the tokens between. As its second stage the answers are the target's own.
//
// Its outputs start as the target's and its embeddings as the target's, scaled to 1, where they are as wide.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "framework/core/text.h"
#include "framework/io/atomic_file.h"
#include "framework/model/heads/mlp_speculator.h"
#include "framework/training/learners/heads.h"
#include "framework/training/learners/path_learner.h"
#include "framework/training/settings.h"

namespace foretell::training::learners {
namespace {

using model::heads::MlpSpeculator;

struct MlpSpeculatorOptions {
  TargetSettings target;
  PathLossOptions loss;
  formats::heads::MlpSpeculatorConfig shape{.predict = 4, .scaled_input = true};
  void declare(Parameters& p) {
    target.declare(p);
    loss.declare(p);
    p.add("n_predict", shape.predict, "steps of a draft", {.min = 1, .max = 64});
    p.add("inner_dim", shape.inner, "width of the state; 0: the target's", {.min = 0, .max = 1 << 20});
    p.add("tie_weights", shape.tied, "whether steps share embedding, norm, output and projection");
    p.add("scale_input", shape.scaled_input, "whether the target's state is normed first");
  }
};

class MlpSpeculatorLearner final : public PathLearner {
 public:
  using Options = MlpSpeculatorOptions;
  MlpSpeculatorLearner(Options options, const BuildContext&)
      : PathLearner(options.loss), options_(std::move(options)) {}

  const TargetSettings* target() const override { return &options_.target; }

  void set_up(const LearnerInputs& inputs) override {
    PathLearner::set_up(inputs);
    config_ = options_.shape;
    config_.hidden = static_cast<int>(hidden());
    if (config_.inner == 0) config_.inner = config_.hidden;
    config_.vocab = model()->config().vocab_size;
    const std::int64_t seed = inputs.settings.model.init_seed, inner = config_.inner;
    for (int step = 0; step < config_.predict; ++step) {
      Weights made = config_.tied && step > 0 ? weights_.back() : Weights{};
      if (step < 2 || !config_.tied)
        made.projection =
            new_matrix(fmt::format("proj.{}", step), inner, step == 0 ? hidden() : inner, seed, inputs.device);
      if (step == 0 || !config_.tied) {
        made.embedding = new_table(fmt::format("emb.{}", step), seed, inputs.device, own_embedding());
        made.output = new_table(fmt::format("head.{}", step), seed, inputs.device, target_head());
        made.gain = new_gain(inner, inputs.device);
        made.bias = at::zeros({inner}, made.gain.options().requires_grad(false)).requires_grad_();
      }
      weights_.push_back(std::move(made));
    }
  }

  std::vector<autograd::TrainParameter> parameters() const override {
    std::vector<autograd::TrainParameter> all;
    for (const auto& [name, value] : named())
      all.push_back({name, value, value.dim() == 2 && !name.starts_with("speculator.emb")});
    return all;
  }

  void save(const std::filesystem::path& folder) const override {
    write_head(folder / "model.safetensors", named(), save_dtype());
    io::write_file(folder / "config.json", formats::heads::mlp_speculator_config_json(config_));
  }

  std::optional<DraftedBy> drafter(const std::filesystem::path& folder, int depth) const override {
    return DraftedBy{head_section("mlp_speculator", folder, std::min(depth, config_.predict)), {}};
  }

  std::string description() const override {
    return fmt::format(
        "An MLP speculator of {} ({:.2f} million parameters, a state of width {}) on a target of hidden "
        "size {}",
        counted(config_.predict, "step"), static_cast<double>(parameter_count()) / 1e6, config_.inner, hidden());
  }

 protected:
  at::Tensor start(const autograd::TrainBatch& batch) const override {
    const at::Tensor& states = batch.target.final_state;
    return config_.scaled_input ? normed(states) / std::sqrt(2.0) : states;
  }

  Step step(int number, const at::Tensor& path, const at::Tensor& tokens) const override {
    const Weights& of = weights_[static_cast<std::size_t>(number)];
    const at::Tensor mixed =
        at::linear(path, of.projection) + at::embedding(of.embedding, tokens) * model::heads::token_weight(config_);
    const at::Tensor state = at::gelu(normed(mixed) * of.gain + of.bias);
    return {state, state};
  }

  int steps() const override { return config_.predict; }
  at::Tensor output(int number) const override { return weights_[static_cast<std::size_t>(number)].output; }

  std::shared_ptr<const model::heads::PathHead> head() const override {
    model::heads::HeadTensors tensors;
    for (const auto& [name, value] : named()) tensors[name] = value.detach();
    return std::make_shared<MlpSpeculator>(
        MlpSpeculator::made_of(config_, tensors, "speculator.", "the head in training", *model()));
  }

 private:
  struct Weights {
    at::Tensor embedding, projection, output, gain, bias;
  };

  static at::Tensor normed(const at::Tensor& x) { return x * (x.square().mean(-1, true) + 1e-6).rsqrt(); }

  at::Tensor own_embedding() const {
    const std::int64_t vocab = model()->config().vocab_size;
    return embedded(*model(), at::arange(vocab, at::kLong)) * model::heads::embedding_scale(*model());
  }
  // [vocab, inner]: a copy of `like` where that is as wide.
  at::Tensor new_table(const std::string& name, std::int64_t seed, at::Device device, const at::Tensor& like) const {
    if (like.size(1) == config_.inner) return like.to(device).clone().requires_grad_();
    return new_matrix(name, config_.vocab, config_.inner, seed, device);
  }

  // Under the names of the published files; what is tied once.
  NamedTensorList named() const {
    NamedTensorList all;
    for (int step = 0; step < config_.predict; ++step) {
      const Weights& of = weights_[static_cast<std::size_t>(step)];
      const auto add = [&](const char* part, const char* kind, const at::Tensor& value) {
        all.emplace_back(fmt::format("speculator.{}.{}.{}", part, step, kind), value);
      };
      if (step < 2 || !config_.tied) add("proj", "weight", of.projection);
      if (step > 0 && config_.tied) continue;
      add("emb", "weight", of.embedding);
      add("head", "weight", of.output);
      add("ln", "weight", of.gain);
      add("ln", "bias", of.bias);
    }
    return all;
  }

  Options options_;
  formats::heads::MlpSpeculatorConfig config_;
  std::vector<Weights> weights_;  // tied ones are the same tensors
};

FORETELL_REGISTER(Learner, MlpSpeculatorLearner, "mlp_speculator",
                  {.summary = "an MLP speculator on a frozen target",
                   .paper = {"Wertheimer et al.", 2024, "2404.19124"},
                   .also_known_as = {"MLPSpeculator"}});

}  // namespace
}  // namespace foretell::training::learners
