// A probe on a frozen target that says behind which layer a row may leave: a linear map of the state to one number,
// learned against whether the token behind that layer is the full model's (CALM, Schuster et al. 2022, arXiv
// 2207.07061, section 3.5). The exit policy `classifier` reads what is saved.
//
// Losses: `binary` is the cross-entropy at each layer, averaged over layers; `geometric` is that of the first layer
// whose token is right under the chance of stopping there, as CALM's released code has it. `balance: batch` weighs the
// two answers of a layer by one minus their share (the same code); `prior` adds the logarithm of their ratio to the
// logit (FREE, Bae et al. 2023, arXiv 2310.05424).
//
// Deviation: states are divided by their root mean square, so that one probe serves layers of different scale.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/binary_cross_entropy_with_logits.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/dot.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <numeric>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/training/language_loss.h"
#include "framework/training/learners/exits/exit_model_learner.h"
#include "framework/training/learners/heads.h"
#include "framework/training/settings.h"

namespace foretell::training::learners::exits {
namespace {

struct ExitClassifierOptions {
  TargetSettings target;
  std::vector<int> layers;
  std::string loss = "binary", balance = "none";
  bool shared = true;
  Location where = {};
  void declare(Parameters& p) {
    where = p.where();
    target.declare(p);
    p.add("layers", layers, "behind which layers rows may leave, increasing; none: behind all but the last",
          {.min = 1, .max = 4096});
    p.add("loss", loss, "whether a layer's token is right, or which layer is the first whose token is",
          {.choices = {"binary", "geometric"}});
    p.add("balance", balance, "of the two answers, under binary: none, by their shares in a batch, or by their prior",
          {.choices = {"none", "batch", "prior"}});
    p.add("shared", shared, "one probe for all layers, else one for each");
  }
};

class ExitClassifierLearner final : public Learner {
 public:
  using Options = ExitClassifierOptions;
  ExitClassifierLearner(Options options, const BuildContext&) : options_(std::move(options)) {
    if (options_.loss == "geometric" && options_.balance != "none")
      fail_at(options_.where, "balance: {} says nothing under loss: geometric: expected none", options_.balance);
  }

  const TargetSettings* target() const override { return &options_.target; }
  bool trains_model() const override { return false; }
  HiddenStateRequest required_hidden_states() const override { return {.aux_states = layers_, .final_state = true}; }

  void set_up(const LearnerInputs& inputs) override {
    save_dtype_ = inputs.settings.run.save_dtype;
    const int num_layers = inputs.target->config().num_layers;
    layers_ = options_.layers;
    if (layers_.empty()) {
      layers_.resize(static_cast<std::size_t>(std::max(num_layers - 1, 1)));
      std::iota(layers_.begin(), layers_.end(), 1);
    }
    layers_ = ExitEvaluation{layers_, 1, options_.where}.of(num_layers);
    output_ = head_matrix(*inputs.target, options_.target.where).to(inputs.device);
    norm_.emplace(*inputs.target, inputs.device);
    const std::int64_t probes = options_.shared ? 1 : std::ssize(layers_);
    const auto zeros = [&](const std::vector<std::int64_t>& shape) {
      return at::zeros(shape, at::TensorOptions().device(inputs.device)).requires_grad_();
    };
    weight_ = zeros({probes, inputs.target->config().hidden_size});
    bias_ = zeros({probes});
  }

  std::vector<autograd::TrainParameter> parameters() const override {
    return {{"weight", weight_, true}, {"bias", bias_, false}};
  }

  autograd::TrainLoss loss(const autograd::TrainBatch& batch) const override {
    const Judged rows = judge(batch);
    const at::Tensor total =
        (options_.loss == "binary" ? binary(rows, batch) : geometric(rows, batch)) / batch.normaliser;
    return {total,
            {{"loss", total.detach()}, {"agreement", at::dot(rows.agrees.mean(0), batch.weights) / batch.normaliser}}};
  }

  void save(const std::filesystem::path& folder) const override {
    std::vector<std::pair<std::string, at::Tensor>> tensors;
    for (std::int64_t probe = 0; probe < weight_.size(0); ++probe) {
      const std::string stem =
          options_.shared ? "shared" : fmt::format("layers.{}", layers_[static_cast<std::size_t>(probe)]);
      tensors.emplace_back(stem + ".weight", weight_.detach()[probe]);
      tensors.emplace_back(stem + ".bias", bias_.detach().narrow(0, probe, 1));
    }
    write_head(folder / "exit_probe.safetensors", tensors, save_dtype_);
  }
  // Acceptance would be best where no row leaves: what is kept is the last state.
  std::optional<DraftedBy> drafter(const std::filesystem::path&, int) const override { return std::nullopt; }
  std::string description() const override {
    return fmt::format("{} that says whether a row may leave behind layers {} of a target",
                       counted(static_cast<int>(weight_.size(0)), "linear probe"), fmt::join(layers_, ", "));
  }

 private:
  struct Judged {
    at::Tensor logits, agrees;  // float32 [exits, loss rows]; agrees: 1 where the exit's token is the full model's
  };

  Judged judge(const autograd::TrainBatch& batch) const {
    std::vector<at::Tensor> logits, agrees;
    const at::Tensor last = loss_states(batch.target.final_state, batch);
    const at::Tensor said = at::linear(last, output_).argmax(-1);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const at::Tensor state = loss_states(batch.target.aux_states[i], batch);
      const at::Tensor scaled = state * at::rsqrt(state.square().mean(-1, true) + 1e-12);
      const auto probe = static_cast<std::int64_t>(options_.shared ? 0 : i);
      logits.push_back(at::linear(scaled, weight_[probe].unsqueeze(0)).squeeze(1) + bias_[probe]);
      agrees.push_back(at::linear((*norm_)(state), output_).argmax(-1).eq(said).to(at::kFloat));
    }
    return {at::stack(logits), at::stack(agrees)};
  }

  // Sums over rows, as the weights of the batch count them.
  at::Tensor binary(const Judged& rows, const autograd::TrainBatch& batch) const {
    const at::Tensor share = rows.agrees.mean(1, true);  // of rows that agree, by exit
    const at::Tensor logits = options_.balance == "prior"
                                  ? rows.logits + (share.clamp_min(1e-4) / (1 - share).clamp_min(1e-4)).log()
                                  : rows.logits;
    at::Tensor each = at::binary_cross_entropy_with_logits(logits, rows.agrees, {}, {}, at::Reduction::None);
    if (options_.balance == "batch") each = each * at::where(rows.agrees > 0, 1 - share, share);
    return at::dot(each.mean(0), batch.weights);
  }

  // log of prod_{j<l} (1 - s_j) s_l, of the first exit l that agrees; s of the last layer is 1.
  static at::Tensor geometric(const Judged& rows, const autograd::TrainBatch& batch) {
    const at::Tensor ahead = rows.agrees.cumsum(0) - rows.agrees;  // agreements of lower exits
    const at::Tensor before = ahead.eq(0).logical_and(rows.agrees.eq(0)),
                     first = ahead.eq(0).logical_and(rows.agrees.gt(0));
    const at::Tensor log_p = at::where(first, at::log_sigmoid(rows.logits), at::log_sigmoid(-rows.logits)) *
                             before.logical_or(first).to(at::kFloat);
    return -at::dot(log_p.sum(0), batch.weights);
  }

  Options options_;
  std::string save_dtype_;
  std::vector<int> layers_;
  at::Tensor output_;  // the target's head
  std::optional<FrozenNorm> norm_;
  at::Tensor weight_, bias_;
};

FORETELL_REGISTER(Learner, ExitClassifierLearner, "exit_classifier",
                  {.summary = "a probe that says behind which layer a row may leave",
                   .paper = {"Schuster et al.", 2022, "2207.07061"},
                   .also_known_as = {"CALM's classifier"}});

}  // namespace
}  // namespace foretell::training::learners::exits
