// Heads on a frozen target that answer rows which leave early (EE-Tuning, Pan et al. 2024, arXiv 2402.00518): behind
// each layer a matrix to the vocabulary, a translator of states before the target's own head, or an MLP before either.
// Every head starts as the target's own: matrices as copies of it, translators and the MLP's last matrix as zeros.
//
// Deviation: the paper copies the MLP of the target's last layer; here its last matrix starts at zero, so that no
// weights of the target are needed that it does not lend. The cross-entropy of the text may be mixed with the
// divergence from what the target says of it (`kl`).
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/silu.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/training/autograd/training_ops.h"
#include "framework/training/language_loss.h"
#include "framework/training/learners/exits/exit_model_learner.h"
#include "framework/training/learners/heads.h"
#include "framework/training/settings.h"

namespace foretell::training::learners::exits {
namespace {

struct ExitHeadsOptions {
  TargetSettings target;
  std::vector<int> layers;
  std::vector<double> weights;
  std::string form = "linear", output = "target";
  int inner = 0;
  double ce = 1, kl = 0;
  Location where = {};
  void declare(Parameters& p) {
    where = p.where();
    target.declare(p);
    p.add("layers", layers, "behind which layers a head stands; none: behind a quarter, a half and three quarters",
          {.min = 1, .max = 4096});
    p.add("weights", weights, "of each head's loss; none: 1 each", {.min = 0.0});
    p.add("form", form,
          "linear: a matrix to the vocabulary; translator: one that moves states, before the target's head; mlp: "
          "hidden -> inner -> hidden added to the state, before 'output'",
          {.choices = {"linear", "translator", "mlp"}});
    p.add("output", output, "behind an MLP: the target's head, or a matrix of its own", {.choices = {"target", "own"}});
    p.add("inner", inner, "width of the MLP; 0: the target's hidden size", {.min = 0, .max = 1 << 20});
    p.add("ce", ce, "weight of the cross-entropy of the text", {.min = 0.0});
    p.add("kl", kl, "weight of the divergence KL(target || head)", {.min = 0.0});
  }
};

class ExitHeadsLearner final : public Learner {
 public:
  using Options = ExitHeadsOptions;
  ExitHeadsLearner(Options options, const BuildContext&) : options_(std::move(options)) {
    if (options_.ce + options_.kl <= 0) fail_at(options_.where, "ce and kl are both 0: nothing is learned");
  }

  const TargetSettings* target() const override { return &options_.target; }
  bool trains_model() const override { return false; }
  HiddenStateRequest required_hidden_states() const override {
    return {.aux_states = layers_, .final_state = options_.kl > 0};
  }

  void set_up(const LearnerInputs& inputs) override {
    save_dtype_ = inputs.settings.run.save_dtype;
    layers_ = ExitEvaluation{options_.layers, 1, options_.where}.of(inputs.target->config().num_layers);
    if (options_.weights.empty()) options_.weights.assign(layers_.size(), 1);
    if (options_.weights.size() != layers_.size())
      fail_at(options_.where, "weights: there are {} for {}", options_.weights.size(),
              counted(static_cast<int>(layers_.size()), "layer"));
    output_ = head_matrix(*inputs.target, options_.target.where).to(inputs.device);
    norm_.emplace(*inputs.target, inputs.device);
    const std::int64_t hidden = inputs.target->config().hidden_size;
    const std::int64_t inner = options_.inner > 0 ? options_.inner : hidden;
    const bool mlp = options_.form == "mlp";
    for (const int layer : layers_) {
      const auto matrix = [&](std::int64_t out, std::int64_t in, double deviation, const char* part) {
        const std::string name = fmt::format("layers.{}.{}", layer, part);
        return leaf({out, in}, deviation, inputs.settings.model.init_seed, name)
            .detach()
            .to(inputs.device)
            .requires_grad_();
      };
      Head& head = heads_.emplace_back();
      if (mlp) head.up = matrix(inner, hidden, 1 / std::sqrt(static_cast<double>(hidden)), "up.weight");
      if (mlp) head.down = matrix(hidden, inner, 0, "down.weight");
      if (options_.form == "translator") head.translator = matrix(hidden, hidden, 0, "weight");
      if (options_.form == "linear" || (mlp && options_.output == "own")) head.own = output_.clone().requires_grad_();
    }
  }

  std::vector<autograd::TrainParameter> parameters() const override {
    std::vector<autograd::TrainParameter> all;
    for (const auto& [name, value] : named()) all.push_back({name, value, true});
    return all;
  }

  autograd::TrainLoss loss(const autograd::TrainBatch& batch) const override {
    autograd::TrainLoss out;
    out.terms.push_back({"loss", {}});
    for (std::size_t i = 0; i < heads_.size(); ++i) {
      const at::Tensor own = loss_of(i, batch) / batch.normaliser;
      const at::Tensor counted = own * options_.weights[i];
      out.total = i == 0 ? counted : out.total + counted;
      out.terms.push_back({fmt::format("loss.{}", layers_[i]), own.detach()});
    }
    out.terms[0].value = out.total.detach();
    return out;
  }

  std::vector<int> exits() const override { return layers_; }
  std::vector<double> exit_losses(const autograd::TrainBatch& batch) const override {
    const c10::NoGradGuard no_grad;
    std::vector<double> out;
    for (std::size_t i = 0; i < heads_.size(); ++i) {
      const at::Tensor state = normed(i, batch);
      out.push_back(autograd::head_loss_training(state, matrix(i), batch.targets, batch.weights).item<double>());
    }
    return out;
  }
  std::optional<DraftedBy> exit_drafter(const std::filesystem::path& folder, int layer) const override {
    ConfigValue section = self_section(layer, options_.target.acceptance_depth);
    section.set("heads", ConfigValue::scalar(folder.string(), {}, true));
    return DraftedBy{section, {}};
  }

  void save(const std::filesystem::path& folder) const override {
    write_head(folder / "exit_heads.safetensors", named(), save_dtype_);
  }
  // The first exit: where acceptance is worst.
  std::optional<DraftedBy> drafter(const std::filesystem::path& folder, int) const override {
    return exit_drafter(folder, layers_.front());
  }

  std::string description() const override {
    return fmt::format("{} ({}, {:.2f} million parameters) behind layers {} of a target",
                       counted(static_cast<int>(heads_.size()), "exit head"), options_.form,
                       static_cast<double>(parameter_count()) / 1e6, fmt::join(layers_, ", "));
  }

 private:
  struct Head {
    at::Tensor translator = {}, up = {}, down = {}, own = {};  // undefined: it has none
  };

  at::Tensor normed(std::size_t exit, const autograd::TrainBatch& batch) const {
    const Head& head = heads_[exit];
    const at::Tensor state = loss_states(batch.target.aux_states[exit], batch);
    if (head.translator.defined()) return (*norm_)(state + at::linear(state, head.translator));
    if (!head.up.defined()) return (*norm_)(state);
    return (*norm_)(state + at::linear(at::silu(at::linear((*norm_)(state), head.up)), head.down));
  }
  const at::Tensor& matrix(std::size_t exit) const { return heads_[exit].own.defined() ? heads_[exit].own : output_; }
  // The weighted sum over rows.
  at::Tensor loss_of(std::size_t exit, const autograd::TrainBatch& batch) const {
    const at::Tensor state = normed(exit, batch);
    if (options_.kl == 0)
      return autograd::head_loss_training(state, matrix(exit), batch.targets, batch.weights) * options_.ce;
    const at::Tensor last = loss_states(batch.target.final_state, batch);
    return autograd::distill_loss_training(state, matrix(exit), batch.targets, batch.weights, {last, output_},
                                           {.ce = options_.ce, .kl = options_.kl, .tvd = 0, .temperature = 1})
        .total;
  }

  // Under the names of framework/formats/exit_heads.h.
  std::vector<std::pair<std::string, at::Tensor>> named() const {
    std::vector<std::pair<std::string, at::Tensor>> all;
    for (std::size_t i = 0; i < heads_.size(); ++i) {
      const auto add = [&](const char* part, const at::Tensor& value) {
        if (value.defined()) all.emplace_back(fmt::format("layers.{}.{}", layers_[i], part), value);
      };
      add("weight", heads_[i].translator);
      add("up.weight", heads_[i].up);
      add("down.weight", heads_[i].down);
      add("weight", heads_[i].own);
    }
    return all;
  }

  Options options_;
  std::string save_dtype_;
  std::vector<int> layers_;
  at::Tensor output_;  // the target's
  std::optional<FrozenNorm> norm_;
  std::vector<Head> heads_;
};

FORETELL_REGISTER(Learner, ExitHeadsLearner, "exit_heads",
                  {.summary = "heads on a frozen target that answer rows which leave early",
                   .paper = {"Pan et al.", 2024, "2402.00518"},
                   .also_known_as = {"EE-Tuning"}});

}  // namespace
}  // namespace foretell::training::learners::exits
