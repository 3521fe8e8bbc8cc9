// PARD-2 (AMD, 2026): PARD's draft model with a projection of the target's hidden states added to its embeddings,
// which learns the target's distributions as well as its answers. A row of depth d counts by how sure the target was of
// the d tokens that it does not see: the product of their probabilities. A share of the sequences is learned without
// the states, so that the model also drafts for targets it does not know.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <nlohmann/json.hpp>

#include "framework/core/error.h"
#include "framework/core/mix.h"
#include "framework/decoding/heads/state_reader.h"
#include "framework/model/heads/mask_draft.h"
#include "framework/training/language_loss.h"
#include "framework/training/learners/heads.h"
#include "framework/training/learners/mask_learner.h"
#include "framework/training/settings.h"

namespace foretell::training::learners {
namespace {

struct Pard2Options {
  MaskLearnerOptions mask;
  kernels::training::DistillMix mix{.ce = 0.3, .kl = 1.0, .tvd = 0};
  double scale = 0.02, state_dropout = 0.5;
  std::vector<int> layers = {-1};
  void declare(Parameters& p) {
    mask.declare(p);
    p.add("ce", mix.ce, "weight of the cross-entropy of the answers", {.min = 0.0});
    p.add("kl", mix.kl, "weight of the divergence KL(target || draft)", {.min = 0.0});
    p.add("scale", scale, "of what is added to the embeddings", {.min = 0.0, .aliases = {"pard2_scale"}});
    p.add("layers", layers, "hidden states of the target, as Transformers counts them, -1 the final one",
          {.min = -1000, .max = 1000, .aliases = {"pard2_target_layers"}});
    p.add("state_dropout", state_dropout, "the share of sequences that are learned without states",
          {.min = 0.0, .max = 1.0});
  }
};

class Pard2Learner final : public MaskLearner {
 public:
  using Options = Pard2Options;
  Pard2Learner(Options options, const BuildContext&)
      : MaskLearner(options.mask), options_(std::move(options)), reader_(std::vector<int>{}) {
    if (options_.mix.ce + options_.mix.kl <= 0)
      fail_at(options_.mask.target.where, "pard2: ce and kl are both 0: nothing is learned");
  }

  HiddenStateRequest required_hidden_states() const override {
    HiddenStateRequest request = reader_.request();
    request.final_state = true;  // the teacher's
    return request;
  }

  void set_up(const LearnerInputs& inputs) override {
    MaskLearner::set_up(inputs);
    save_dtype_ = inputs.settings.run.save_dtype;
    output_ = head_matrix(*inputs.target, target()->where).to(inputs.device);
    std::vector<int> places;
    for (const int layer : options_.layers)
      places.push_back(model::heads::state_place(layer, inputs.target->config().num_layers, "learner 'pard2'"));
    reader_ = decoding::heads::StateReader(places);
    const auto width = static_cast<std::int64_t>(places.size()) * inputs.target->config().hidden_size;
    projection_ = leaf({model_->config().hidden_size, width}, 1 / std::sqrt(static_cast<double>(width)),
                       inputs.settings.model.init_seed, "target_proj")
                      .detach()
                      .to(inputs.device)
                      .requires_grad_();
  }

  std::vector<autograd::TrainParameter> parameters() const override {
    std::vector<autograd::TrainParameter> all = MaskLearner::parameters();
    all.push_back({"target_proj", projection_, true});
    return all;
  }

  autograd::TrainLoss loss(const autograd::TrainBatch& batch) const override {
    const MaskedBatch all = masked(batch);
    const at::Tensor kept = batch_kept(batch).index_select(0, all.anchors).unsqueeze(1);
    const at::Tensor weights = all.rows.weights * certainty(batch, all);
    const double share = batch.weights.sum().item<double>() / batch.normaliser;
    const double normaliser = std::max(weights.sum().item<double>(), 1e-6) / share;
    const at::Tensor state = loss_states(model_->forward(all.rows, nullptr, added(batch, all) * kept), all.rows);
    const autograd::DistillLoss loss = autograd::distill_loss_training(
        state, model_->head(), all.rows.targets, weights,
        {batch.target.final_state.index_select(0, all.predicted), output_}, options_.mix);
    const at::Tensor total = loss.total / normaliser;
    const auto term = [&](double sum) { return at::scalar_tensor(sum / normaliser, at::kDouble); };
    return {total, {{"loss", total.detach()}, {"loss.ce", term(loss.terms.ce)}, {"loss.kl", term(loss.terms.kl)}}};
  }

  void save(const std::filesystem::path& folder) const override {
    MaskLearner::save(folder);
    write_head(folder / "pard_warp_model.safetensors", {{"target_proj.weight", projection_.detach()}}, save_dtype_);
  }

 private:
  const char* name() const override { return "pard2"; }
  std::vector<std::pair<std::string, std::string>> more_keys() const override {
    return {{"pard2_scale", nlohmann::json(options_.scale).dump()},
            {"pard2_proj_bias", "false"},
            {"pard2_target_dim", std::to_string(projection_.size(1))},
            {"pard2_target_layers", nlohmann::json(options_.layers).dump()}};
  }

  // Of the row before the anchor; nothing before the first.
  at::Tensor added(const autograd::TrainBatch& batch, const MaskedBatch& all) const override {
    const at::Tensor states = reader_.joined(batch.target);
    const at::Tensor before = (all.anchors - 1).clamp_min(0);
    const at::Tensor known = batch.positions.index_select(0, all.anchors).gt(0).to(states.scalar_type()).unsqueeze(1);
    return at::linear(states.index_select(0, before), projection_) * known * options_.scale;
  }

  // By row of the batch: 0 where its sequence is learned without states.
  at::Tensor batch_kept(const autograd::TrainBatch& batch) const {
    at::Tensor kept = at::ones_like(batch.positions).to(at::kFloat);
    const std::uint64_t seed = seed_of(batch);
    for (const autograd::RowGroup& group : batch.groups)
      for (std::int64_t i = 0; i < group.sequences; ++i) {
        const std::int64_t first = group.first_row + i * group.length;
        const double drawn =
            static_cast<double>(mix64(seed ^ mix64(static_cast<std::uint64_t>(first))) >> 11) * 0x1p-53;
        if (drawn < options_.state_dropout) kept.narrow(0, first, group.length).zero_();
      }
    return kept;
  }

  // By loss row how sure the target was of the tokens between the anchor and what is to be said.
  at::Tensor certainty(const autograd::TrainBatch& batch, const MaskedBatch& all) const {
    const c10::NoGradGuard no_grad;
    constexpr std::int64_t kChunk = 1024;
    at::Tensor sure = at::zeros({batch.tokens.size(0)}, batch.weights.options());
    for (std::int64_t at = 0; at < batch.loss_rows.size(0); at += kChunk) {
      const std::int64_t count = std::min(kChunk, batch.loss_rows.size(0) - at);
      const at::Tensor rows = batch.loss_rows.narrow(0, at, count);
      const at::Tensor log_p = at::log_softmax(at::linear(batch.target.final_state.index_select(0, rows), output_), -1);
      sure.index_copy_(0, rows, log_p.gather(1, batch.targets.narrow(0, at, count).unsqueeze(1)).exp().view({-1}));
    }
    const at::Tensor anchors = all.anchors.index_select(0, all.rows.loss_rows),
                     depths = all.depths.index_select(0, all.rows.loss_rows);
    at::Tensor product = at::ones_like(all.rows.weights);
    for (std::int64_t d = 0; d < options_.mask.drop.depths - 1; ++d) {
      const at::Tensor between = sure.index_select(0, (anchors + d).clamp_max(sure.size(0) - 1));
      product = at::where(depths.gt(d), product * between, product);
    }
    return product;
  }

  Options options_;
  std::string save_dtype_;
  decoding::heads::StateReader reader_;
  at::Tensor output_, projection_;
};

FORETELL_REGISTER(Learner, Pard2Learner, "pard2",
                  {.summary = "PARD's draft model with the target's hidden states beside its embeddings",
                   .also_known_as = {"PARD-2"}});

}  // namespace
}  // namespace foretell::training::learners
