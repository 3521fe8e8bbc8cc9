// A prediction layer behind a frozen target's last one (multi-token prediction, DeepSeek-AI 2024, arXiv 2412.19437),
// trained for drafts: over `steps` steps, each on what the step before has said and on the text's own tokens, step s
// counting beta^s of all (as the fine-tuning of FastMTP does).
//
// Deviation: the layer is a dense one in Llama's shape, whatever the target's family is.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "framework/core/error.h"
#include "framework/io/atomic_file.h"
#include "framework/model/heads/prediction_head.h"
#include "framework/model/rope.h"
#include "framework/training/autograd/training_ops.h"
#include "framework/training/learners/heads.h"
#include "framework/training/learners/unrolled.h"
#include "framework/training/settings.h"

namespace foretell::training::learners {
namespace {

using model::heads::PredictionHead;

struct MtpLearnerOptions {
  TargetSettings target;
  int steps = 3;
  double beta = 0.6;
  kernels::training::DistillMix mix{.ce = 1, .kl = 0, .tvd = 0};
  void declare(Parameters& p) {
    target.declare(p);
    p.add("steps", steps, "tokens of a draft that are learned", {.min = 1, .max = 16});
    p.add("beta", beta, "step s counts beta^s", {.min = 0.01, .max = 1.0});
    p.add("ce", mix.ce, "weight of the cross-entropy of the answers", {.min = 0.0});
    p.add("kl", mix.kl, "weight of the divergence KL(target || draft)", {.min = 0.0});
  }
};

class MtpLearner final : public Learner {
 public:
  using Options = MtpLearnerOptions;
  MtpLearner(Options options, const BuildContext&) : options_(std::move(options)) {
    if (options_.mix.ce + options_.mix.kl <= 0)
      fail_at(options_.target.where, "mtp: ce and kl are both 0: nothing is learned");
  }

  const TargetSettings* target() const override { return &options_.target; }
  bool trains_model() const override { return false; }
  HiddenStateRequest required_hidden_states() const override { return {.final_state = true}; }

  void set_up(const LearnerInputs& inputs) override {
    target_ = inputs.target;
    save_dtype_ = inputs.settings.run.save_dtype;
    output_ = head_matrix(*target_, options_.target.where).to(inputs.device);
    config_ = model::heads::layer_config_for(target_->config());
    config_.dtype = save_dtype_ == "bf16" ? "bfloat16" : "float32";
    frequencies_ = model::rope_frequencies(config_);
    for (const model::heads::HeadTensor& tensor : PredictionHead::tensors_of(config_)) {
      const at::Tensor value = tensor.shape.size() == 1
                                   ? at::ones(tensor.shape)
                                   : leaf(tensor.shape, 1 / std::sqrt(3.0 * static_cast<double>(tensor.shape.back())),
                                          inputs.settings.model.init_seed, tensor.name)
                                         .detach();
      weights_[tensor.name] = value.to(inputs.device).clone().requires_grad_();
    }
  }

  std::vector<autograd::TrainParameter> parameters() const override {
    std::vector<autograd::TrainParameter> all;
    for (const auto& [name, value] : weights_) all.push_back({name, value, value.dim() == 2});
    return all;
  }

  autograd::TrainLoss loss(const autograd::TrainBatch& batch) const override {
    std::vector<autograd::UnrolledStep> steps;
    at::Tensor states = batch.target.final_state, total;
    autograd::TrainLoss out;
    out.terms.push_back({"loss", {}});
    double all = 0;
    for (int s = 0; s < options_.steps; ++s) all += std::pow(options_.beta, s);
    for (int s = 0; s < options_.steps; ++s) {
      states = step(batch, states, steps);
      const at::Tensor own = said(batch, states, s);
      const at::Tensor counted = own * (std::pow(options_.beta, s) / all);
      total = s == 0 ? counted : total + counted;
      out.terms.push_back({fmt::format("loss.{}", s + 1), own.detach()});
    }
    out.total = total;
    out.terms[0].value = total.detach();
    return out;
  }

  at::Tensor draft_hits(const autograd::TrainBatch& batch, int depth) const override {
    const c10::NoGradGuard no_grad;
    model::heads::HeadTensors tensors;
    for (const auto& [name, value] : weights_) tensors[name] = value.detach();
    return draft_hits_of(PredictionHead::made_of(config_, tensors, "the layer in training", target_), batch,
                         batch.target.final_state, depth);
  }

  // As a checkpoint holds it: with copies of the embedding and the head.
  void save(const std::filesystem::path& folder) const override {
    const c10::NoGradGuard no_grad;
    formats::ModelConfig model = config_;
    model.num_layers = target_->config().num_layers;
    const std::string stem = fmt::format("model.layers.{}.", model.num_layers);
    std::vector<std::pair<std::string, at::Tensor>> list;
    for (const auto& [name, value] : weights_) list.emplace_back(stem + name, value);
    std::vector<std::int64_t> ids(static_cast<std::size_t>(model.vocab_size));
    std::iota(ids.begin(), ids.end(), 0);
    list.emplace_back(stem + "embed_tokens.weight", embedded(*target_, at::tensor(ids, at::kLong)));
    list.emplace_back(stem + "shared_head.head.weight", output_);
    write_head(folder / "model.safetensors", list, save_dtype_);
    auto json = nlohmann::ordered_json::parse(formats::model_config_json(model));
    json["num_nextn_predict_layers"] = 1;
    io::write_file(folder / "config.json", json.dump(2) + "\n");
  }

  std::optional<DraftedBy> drafter(const std::filesystem::path& folder, int depth) const override {
    ConfigValue section = drafter_section("mtp", depth);
    section.set("head", ConfigValue::scalar(folder.string(), {}, true));
    return DraftedBy{section, {}};
  }

  std::string description() const override {
    return fmt::format("A prediction layer of {:.2f} million parameters (hidden size {}) behind a target",
                       static_cast<double>(parameter_count()) / 1e6, config_.hidden_size);
  }

 private:
  const at::Tensor& weight(const char* name) const { return weights_.at(name); }

  // Row t's state one place further than `states`, in the step behind `steps`.
  at::Tensor step(const autograd::TrainBatch& batch, const at::Tensor& states,
                  std::vector<autograd::UnrolledStep>& steps) const {
    const auto number = static_cast<std::int64_t>(steps.size());
    const auto norm = [&](const at::Tensor& x, const char* gain) {
      return autograd::rms_norm_training(x, weight(gain), config_.norm_eps);
    };
    const at::Tensor behind = shifted(tokens_behind(batch, next_tokens(batch)), batch, number, 0);
    const at::Tensor tokens = embedded(*target_, behind).to(states.device());
    at::Tensor x =
        at::linear(at::cat({norm(tokens, "enorm.weight"), norm(states, "hnorm.weight")}, 1), weight("eh_proj.weight"));
    const at::Tensor qkv = at::cat(
        {weight("self_attn.q_proj.weight"), weight("self_attn.k_proj.weight"), weight("self_attn.v_proj.weight")});
    steps.push_back({at::linear(norm(x, "input_layernorm.weight"), qkv),
                     autograd::rotary_rows(batch.positions + number, frequencies_, 1, states.device())});
    const autograd::TrainingAttention attention{
        {config_.num_heads, config_.num_kv_heads, config_.head_dim, config_.rope.interleaved},
        steps.back().rotary,
        batch.groups,
        1 / std::sqrt(static_cast<double>(config_.head_dim))};
    x = x + at::linear(autograd::attend_unrolled_training(steps, attention), weight("self_attn.o_proj.weight"));
    const at::Tensor up = at::cat({weight("mlp.gate_proj.weight"), weight("mlp.up_proj.weight")});
    return x + at::linear(autograd::gated_training(at::linear(norm(x, "post_attention_layernorm.weight"), up),
                                                   config_.activation),
                          weight("mlp.down_proj.weight"));
  }

  // What the rows of a step say of tokens that the batch knows.
  at::Tensor said(const autograd::TrainBatch& batch, const at::Tensor& states, int step) const {
    const std::int64_t ahead = step + 1;
    const at::Tensor chosen = batch.positions.index_select(0, batch.loss_rows).ge(ahead).nonzero().view({-1});
    const auto pick = [&](const at::Tensor& of) { return of.index_select(0, chosen); };
    const at::Tensor rows = pick(batch.loss_rows);
    const at::Tensor normed = autograd::rms_norm_training(at::embedding(states, rows - ahead),
                                                          weight("shared_head.norm.weight"), config_.norm_eps);
    return autograd::distill_loss_training(normed, output_, pick(batch.targets), pick(batch.weights),
                                           {batch.target.final_state.index_select(0, rows), output_}, options_.mix)
               .total /
           batch.normaliser;
  }

  Options options_;
  std::shared_ptr<const model::LanguageModel> target_;
  std::string save_dtype_;
  formats::ModelConfig config_;
  std::vector<double> frequencies_;
  at::Tensor output_;
  model::heads::HeadTensors weights_;  // leaves, by published name without the stem
};

FORETELL_REGISTER(Learner, MtpLearner, "mtp",
                  {.summary = "a prediction layer behind a frozen target's last one",
                   .paper = {"DeepSeek-AI", 2024, "2412.19437"},
                   .also_known_as = {"multi-token prediction"}});

}  // namespace
}  // namespace foretell::training::learners
