#include "framework/training/learners/exits/exit_model_learner.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/ones.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "framework/core/error.h"
#include "framework/core/mix.h"
#include "framework/core/text.h"
#include "framework/training/language_loss.h"
#include "framework/training/learners/heads.h"

namespace foretell::training::learners::exits {
namespace {

double uniform(std::uint64_t key) { return static_cast<double>(mix64(key) >> 11) * 0x1p-53; }

}  // namespace

void ExitEvaluation::declare(Parameters& p) {
  where = p.where();
  p.add("evaluated_layers", layers,
        "where loss and acceptance of a row that leaves early are measured; none: behind a quarter, a half and three "
        "quarters of the layers",
        {.min = 1, .max = 4096});
  p.add("evaluated_depth", depth, "drafted tokens of the self-speculation that measures acceptance",
        {.min = 1, .max = 64});
}

std::vector<int> ExitEvaluation::of(int num_layers) const {
  std::vector<int> out = layers;
  for (int quarter = 1; layers.empty() && quarter < 4; ++quarter)
    if (const int layer = num_layers * quarter / 4; layer > 0) out.push_back(layer);
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  if (!out.empty() && out.back() >= num_layers)
    fail_at(where, "evaluated_layers: a row cannot leave behind layer {}, the model has {}: expected 1 to {}",
            out.back(), counted(num_layers, "layer"), num_layers - 1);
  return out;
}

ConfigValue self_section(int layer, int depth) {
  ConfigValue section = drafter_section("self", depth);
  section.set("exit", ConfigValue::map({{"type", ConfigValue::scalar("fixed_layer"), {}},
                                        {"layer", ConfigValue::scalar(fmt::format("{}", layer)), {}}}));
  return section;
}

void ExitModelLearner::set_up(const LearnerInputs& inputs) {
  ModelLearner::set_up(inputs);
  evaluated_ = evaluation_.of(num_layers());
}

// By layer, of each row 1 or 0: whether its sequence goes through it (Huang et al. 2016, arXiv 1603.09382). A kept
// layer's output is not scaled, as in LayerSkip.
std::vector<at::Tensor> ExitModelLearner::kept(const autograd::TrainBatch& batch) const {
  const std::vector<double> drop = dropout(batch);
  std::vector<at::Tensor> out;
  if (std::ranges::all_of(drop, [](double p) { return p <= 0; })) return out;
  const std::uint64_t seed = mix64(batch_hash(batch) ^ mix64(static_cast<std::uint64_t>(batch.step)));
  for (std::size_t layer = 0; layer < drop.size(); ++layer) {
    at::Tensor rows = at::ones({batch.tokens.size(0), 1}, at::kFloat);
    for (const autograd::RowGroup& group : batch.groups)
      for (std::int64_t i = 0; i < group.sequences; ++i) {
        const std::int64_t first = group.first_row + i * group.length;
        if (uniform(seed ^ mix64(static_cast<std::uint64_t>(first) << 16U | layer)) < drop[layer])
          rows.narrow(0, first, group.length).zero_();
      }
    out.push_back(rows.to(batch.tokens.device()));
  }
  return out;
}

at::Tensor ExitModelLearner::loss_behind(const at::Tensor& normed, const autograd::TrainBatch& batch) const {
  return autograd::head_loss_training(normed, model_->head(), batch.targets, batch.weights);
}

autograd::TrainLoss ExitModelLearner::loss(const autograd::TrainBatch& batch) const {
  const std::vector<double> share = shares(batch);
  autograd::LayerPlan plan{.factors = kept(batch)};
  for (int layer = 1; layer < num_layers(); ++layer)
    if (share[static_cast<std::size_t>(layer) - 1] > 0) plan.states.push_back(layer);
  const autograd::LayerStates states = model_->forward(batch, plan);
  const at::Tensor last = loss_behind(loss_states(states.normed, batch), batch) / batch.normaliser;
  autograd::TrainLoss out{last * share.back(), {{"loss", {}}, {"loss.last", last.detach()}}};
  at::Tensor early;
  for (std::size_t i = 0; i < plan.states.size(); ++i) {
    const at::Tensor own = loss_behind(model_->final_norm(loss_states(states.states[i], batch)), batch) /
                           batch.normaliser * share[static_cast<std::size_t>(plan.states[i]) - 1];
    early = i == 0 ? own : early + own;
  }
  if (early.defined()) out.total = out.total + early;
  out.terms[0].value = out.total.detach();
  return out;
}

std::vector<double> ExitModelLearner::exit_losses(const autograd::TrainBatch& batch) const {
  const c10::NoGradGuard no_grad;
  std::vector<double> out;
  for (const at::Tensor& state : model_->forward(batch, {.states = evaluated_}).states)
    out.push_back(loss_behind(model_->final_norm(loss_states(state, batch)), batch).item<double>());
  return out;
}

std::optional<DraftedBy> ExitModelLearner::exit_drafter(const std::filesystem::path&, int layer) const {
  return DraftedBy{self_section(layer, evaluation_.depth), {}};
}

}  // namespace foretell::training::learners::exits
