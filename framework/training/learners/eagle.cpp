// The head of EAGLE (Li et al. 2024, arXiv 2401.15077): a decoder layer on a frozen target that says the next state
// from the last one and the token behind it. The loss is the smooth L1 distance of states plus the divergence of the
// distributions that the target's head makes of them; states that are read get a little uniform noise, because a draft
// goes on from states that are not exact.
//
// Deviation: the paper's second term is the cross-entropy with the target's distribution; the divergence differs from
// it by a constant.
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
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

#include <cmath>

#include "framework/core/error.h"
#include "framework/core/mix.h"
#include "framework/model/heads/eagle_head.h"
#include "framework/model/rope.h"
#include "framework/training/autograd/training_ops.h"
#include "framework/training/learners/heads.h"
#include "framework/training/settings.h"

namespace foretell::training::learners {
namespace {

using model::heads::EagleHead;

struct EagleOptions {
  TargetSettings target;
  double regression = 1.0, divergence = 0.1, noise = 0.05;
  void declare(Parameters& p) {
    target.declare(p);
    p.add("regression", regression, "weight of the smooth L1 distance of states", {.min = 0.0});
    p.add("divergence", divergence, "weight of KL(target || draft) of the tokens' distributions", {.min = 0.0});
    p.add("noise", noise, "width of the uniform noise on the states that are read", {.min = 0.0});
  }
};

class EagleLearner final : public Learner {
 public:
  using Options = EagleOptions;
  EagleLearner(Options options, const BuildContext&) : options_(std::move(options)) {
    if (options_.regression + options_.divergence <= 0)
      fail_at(options_.target.where, "eagle: regression and divergence are both 0: nothing is learned");
  }

  const TargetSettings* target() const override { return &options_.target; }
  bool trains_model() const override { return false; }
  HiddenStateRequest required_hidden_states() const override { return {.final_state = true}; }

  void set_up(const LearnerInputs& inputs) override {
    target_ = inputs.target;
    save_dtype_ = inputs.settings.run.save_dtype;
    output_ = head_matrix(*target_, options_.target.where).to(inputs.device);
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

  std::vector<autograd::TrainParameter> parameters() const override {
    return {{"fc", fc_, true},           {"fc_bias", fc_bias_, false}, {"qkv", qkv_, true},
            {"output", attended_, true}, {"mlp_norm", norm_, false},   {"up", up_, true},
            {"down", down_, true}};
  }

  autograd::TrainLoss loss(const autograd::TrainBatch& batch) const override {
    const at::Tensor chosen = batch.positions.index_select(0, batch.loss_rows).ge(1).nonzero().view({-1});
    const auto pick = [&](const at::Tensor& of) { return of.index_select(0, chosen); };
    const at::Tensor rows = pick(batch.loss_rows), weights = pick(batch.weights);
    const at::Tensor said = at::embedding(forward(batch), rows - 1),
                     state = batch.target.final_state.index_select(0, rows);
    const at::Tensor distance =
        at::dot(at::smooth_l1_loss(said, state, at::Reduction::None).mean(-1), weights) / batch.normaliser;
    const autograd::DistillLoss apart = autograd::distill_loss_training(
        said, output_, pick(batch.targets), weights, {state, output_}, {.ce = 0, .kl = 1, .tvd = 0, .temperature = 1});
    const at::Tensor divergence = apart.total / batch.normaliser;
    const at::Tensor total = distance * options_.regression + divergence * options_.divergence;
    return {
        total,
        {{"loss", total.detach()}, {"loss.regression", distance.detach()}, {"loss.divergence", divergence.detach()}}};
  }

  // A draft goes on from its own states: step s of all drafts of a text in one forward, in which the rows of a draft
  // see the true pairs up to its start and its own ones.
  at::Tensor draft_hits(const autograd::TrainBatch& batch, int depth) const override {
    const c10::NoGradGuard no_grad;
    const EagleHead head = inference_head();
    const NextTokens next = next_tokens(batch);
    const at::Tensor behind = tokens_behind(batch, next).to(at::kInt).contiguous();
    at::Tensor hits = at::full_like(next.token, -1).unsqueeze(0).repeat({depth, 1});
    for (const autograd::RowGroup& group : batch.groups)
      for (std::int64_t i = 0; i < group.sequences; ++i)
        add_hits(head, batch, {group.first_row + i * group.length, group.length}, behind, next.token, hits);
    return hits;
  }

  void save(const std::filesystem::path& folder) const override {
    std::vector<std::pair<std::string, at::Tensor>> list;
    for (const auto& [name, value] : named()) list.emplace_back(name, value);
    write_head(folder / "model.safetensors", list, save_dtype_);
    formats::write_model_config(folder, config_);
  }

  std::optional<DraftedBy> drafter(const std::filesystem::path& folder, int depth) const override {
    ConfigValue section = drafter_section("eagle", depth);
    section.set("head", ConfigValue::scalar(folder.string(), {}, true));
    return DraftedBy{section, {}};
  }

  std::string description() const override {
    return fmt::format(
        "An EAGLE head of {:.2f} million parameters (one layer of hidden size {}) on the states of a "
        "target",
        static_cast<double>(parameter_count()) / 1e6, config_.hidden_size);
  }

 private:
  struct Sequence {
    std::int64_t first, length;
  };

  std::int64_t queries() const { return std::int64_t{config_.num_heads} * config_.head_dim; }
  std::int64_t keys() const { return std::int64_t{config_.num_kv_heads} * config_.head_dim; }

  // The token behind each row, 0 where the batch does not say.
  static at::Tensor tokens_behind(const autograd::TrainBatch& batch, const NextTokens& next) {
    return at::where(next.token.ge(0), next.token, shifted(batch.tokens, batch, 1, 0));
  }

  at::Tensor forward(const autograd::TrainBatch& batch) const {
    const at::Tensor behind = tokens_behind(batch, next_tokens(batch));
    at::Tensor states = batch.target.final_state;
    if (options_.noise > 0) states = states + noise(batch) * options_.noise;
    at::Tensor x = at::linear(at::cat({embedded(*target_, behind).to(states.device()), states}, 1), fc_, fc_bias_);
    const autograd::TrainingAttention attention{
        {config_.num_heads, config_.num_kv_heads, config_.head_dim, config_.rope.interleaved},
        autograd::rotary_rows(batch.positions, frequencies_, 1, states.device()),
        batch.groups,
        1 / std::sqrt(static_cast<double>(config_.head_dim))};
    x = x + at::linear(autograd::attend_training(at::linear(x, qkv_), attention), attended_);
    const at::Tensor normed = autograd::rms_norm_training(x, norm_, config_.norm_eps);
    return x + at::linear(autograd::gated_training(at::linear(normed, up_), config_.activation), down_);
  }

  // Between -1/2 and 1/2: a function of the batch, so that a run that goes on has the same.
  static at::Tensor noise(const autograd::TrainBatch& batch) {
    const at::Tensor ids = batch.tokens.to(at::kCPU).contiguous();
    std::uint64_t seed = 0;
    for (const std::int64_t id : std::span(ids.const_data_ptr<std::int64_t>(), static_cast<std::size_t>(ids.numel())))
      seed = mix64(seed ^ static_cast<std::uint64_t>(id));
    const at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(seed);
    return at::rand(batch.target.final_state.sizes(), generator).to(batch.target.final_state.device()) - 0.5;
  }

  EagleHead inference_head() const {
    EagleHead::Tensors tensors;
    for (const auto& [name, value] : named()) tensors[name] = value;
    return EagleHead::made_of(config_, tensors, "the head in training", target_);
  }

  static void add_hits(const EagleHead& head, const autograd::TrainBatch& batch, Sequence at, const at::Tensor& behind,
                       const at::Tensor& next, at::Tensor& hits) {
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

  // Under the names of the published files.
  std::vector<std::pair<std::string, at::Tensor>> named() const {
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

  Options options_;
  std::shared_ptr<const model::LanguageModel> target_;
  std::string save_dtype_;
  formats::ModelConfig config_;
  std::vector<double> frequencies_;
  at::Tensor output_;  // the target's
  at::Tensor fc_, fc_bias_, qkv_, attended_, norm_, up_, down_;
};

FORETELL_REGISTER(Learner, EagleLearner, "eagle",
                  {.summary = "EAGLE's decoder layer on a frozen target",
                   .paper = {"Li et al.", 2024, "2401.15077"},
                   .also_known_as = {"EAGLE-1"}});

}  // namespace
}  // namespace foretell::training::learners
