// The predictors of SpecEE (Xu et al. 2025, arXiv 2504.08850): behind each layer a small MLP that says of a few
// candidate tokens' logits, probabilities and the change of these whether the layer's token is the full model's. The
// exit policy `specee` reads what is saved and has the definition of the features, candidates included.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/binary_cross_entropy_with_logits.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/dot.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/training/language_loss.h"
#include "framework/training/learners/exits/exit_model_learner.h"
#include "framework/training/learners/heads.h"
#include "framework/training/settings.h"

namespace foretell::training::learners::exits {
namespace {

struct ExitPredictorOptions {
  TargetSettings target;
  std::vector<int> layers;
  int candidates = 4, inner = 512;
  Location where = {};
  void declare(Parameters& p) {
    where = p.where();
    target.declare(p);
    p.add("layers", layers, "behind which layers rows may leave; none: behind a quarter, a half and three quarters",
          {.min = 1, .max = 4096});
    p.add("candidates", candidates, "tokens that a predictor looks at", {.min = 1, .max = 64});
    p.add("inner", inner, "width of a predictor", {.min = 1, .max = 1 << 16});
  }
};

class ExitPredictorLearner final : public Learner {
 public:
  using Options = ExitPredictorOptions;
  ExitPredictorLearner(Options options, const BuildContext&) : options_(std::move(options)) {}

  const TargetSettings* target() const override { return &options_.target; }
  bool trains_model() const override { return false; }
  HiddenStateRequest required_hidden_states() const override { return {.aux_states = layers_, .final_state = true}; }

  void set_up(const LearnerInputs& inputs) override {
    save_dtype_ = inputs.settings.run.save_dtype;
    layers_ = ExitEvaluation{options_.layers, 1, options_.where}.of(inputs.target->config().num_layers);
    output_ = head_matrix(*inputs.target, options_.target.where).to(inputs.device);
    norm_.emplace(*inputs.target, inputs.device);
    if (options_.candidates > output_.size(0))
      fail_at(options_.where, "candidates: {} of a vocabulary of {}", options_.candidates, output_.size(0));
    const std::int64_t features = 3 * std::int64_t{options_.candidates};
    for (const int layer : layers_) {
      const auto made = [&](const std::vector<std::int64_t>& shape, double deviation, const char* part) {
        return leaf(shape, deviation, inputs.settings.model.init_seed, fmt::format("layers.{}.{}", layer, part))
            .detach()
            .to(inputs.device)
            .requires_grad_();
      };
      predictors_.push_back({made({options_.inner, features}, 1 / std::sqrt(static_cast<double>(features)), "up"),
                             made({options_.inner}, 0, "up_bias"),
                             made({options_.inner}, 1 / std::sqrt(static_cast<double>(options_.inner)), "down"),
                             made({1}, 0, "down_bias")});
    }
  }

  std::vector<autograd::TrainParameter> parameters() const override {
    std::vector<autograd::TrainParameter> all;
    for (const auto& [name, value] : named()) all.push_back({name, value, !name.ends_with("bias")});
    return all;
  }

  autograd::TrainLoss loss(const autograd::TrainBatch& batch) const override {
    const at::Tensor said = at::linear(loss_states(batch.target.final_state, batch), output_).argmax(-1);
    autograd::TrainLoss out;
    out.terms.push_back({"loss", {}});
    at::Tensor candidates, before;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const at::Tensor logits = at::linear((*norm_)(loss_states(batch.target.aux_states[i], batch)), output_);
      if (i == 0) candidates = std::get<1>(logits.topk(options_.candidates, -1));
      const at::Tensor z = logits.gather(1, candidates), p = at::softmax(z, -1);
      const Predictor& of = predictors_[i];
      const at::Tensor inner =
          at::relu(at::linear(at::cat({z, p, before.defined() ? p - before : p}, 1), of.up, of.up_bias));
      const at::Tensor logit = at::linear(inner, of.down.unsqueeze(0)).squeeze(1) + of.down_bias;
      const at::Tensor agrees = logits.argmax(-1).eq(said).to(at::kFloat);
      const at::Tensor own =
          at::dot(at::binary_cross_entropy_with_logits(logit, agrees, {}, {}, at::Reduction::None), batch.weights) /
          batch.normaliser;
      out.total = i == 0 ? own : out.total + own;
      out.terms.push_back({fmt::format("agreement.{}", layers_[i]), at::dot(agrees, batch.weights) / batch.normaliser});
      before = p;
    }
    out.terms[0].value = out.total.detach();
    return out;
  }

  void save(const std::filesystem::path& folder) const override {
    write_head(folder / "exit_predictor.safetensors", named(), save_dtype_);
  }
  std::optional<DraftedBy> drafter(const std::filesystem::path&, int) const override { return std::nullopt; }
  std::string description() const override {
    return fmt::format("{} of {} that say whether a row may leave behind layers {} of a target",
                       counted(static_cast<int>(predictors_.size()), "predictor"),
                       counted(options_.candidates, "candidate token"), fmt::join(layers_, ", "));
  }

 private:
  struct Predictor {
    at::Tensor up, up_bias, down, down_bias;
  };

  // Under the names of framework/exits/probe_file.h.
  std::vector<std::pair<std::string, at::Tensor>> named() const {
    std::vector<std::pair<std::string, at::Tensor>> all;
    for (std::size_t i = 0; i < predictors_.size(); ++i) {
      const std::string stem = fmt::format("layers.{}.", layers_[i]);
      all.emplace_back(stem + "up.weight", predictors_[i].up);
      all.emplace_back(stem + "up.bias", predictors_[i].up_bias);
      all.emplace_back(stem + "down.weight", predictors_[i].down);
      all.emplace_back(stem + "down.bias", predictors_[i].down_bias);
    }
    return all;
  }

  Options options_;
  std::string save_dtype_;
  std::vector<int> layers_;
  at::Tensor output_;  // the target's head
  std::optional<FrozenNorm> norm_;
  std::vector<Predictor> predictors_;
};

FORETELL_REGISTER(Learner, ExitPredictorLearner, "exit_predictor",
                  {.summary = "predictors that say of a few candidate tokens whether a row may leave",
                   .paper = {"Xu et al.", 2025, "2504.08850"},
                   .also_known_as = {"SpecEE"}});

}  // namespace
}  // namespace foretell::training::learners::exits
