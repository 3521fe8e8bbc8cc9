#include "framework/training/learners/expert_balance.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "framework/api/build_context.h"
#include "framework/core/error.h"
#include "framework/core/parameters.h"
#include "framework/model/experts.h"
#include "framework/moe/expert_load.h"

namespace foretell::training::learners {

void BalanceOptions::declare(Parameters& p) {
  where = p.where();
  p.add("router", router, "how rows choose experts, as {type: switch}; ~: as the config says");
  p.add("load_balance", load_balance, "weight of the load-balance loss; none: 0.01 for a mixture of experts",
        {.min = 0, .max = 100});
  p.add("z_loss", z_loss, "weight of the router's z-loss; none: 0.001 for a mixture of experts",
        {.min = 0, .max = 100});
  p.add("bias_update", bias_update,
        "what a step adds to or takes from the biases of experts, by their load; none: 0.001 where the config has such "
        "biases",
        {.min = 0, .max = 1});
}

ExpertBalance::ExpertBalance(const BalanceOptions& options, const autograd::TrainableTransformer& model) {
  const formats::MoeConfig& moe = model.config().moe;
  if (moe.experts == 0) {
    if (!options.router.is_null() || options.load_balance || options.z_loss || options.bias_update)
      fail_at(options.where,
              "router, load_balance, z_loss and bias_update are of a mixture of experts; this model is dense");
    return;
  }
  for (const auto& [layer, bias] : model.selection_biases()) layers_.push_back(layer);
  loads_.resize(layers_.size());
  load_balance_ = options.load_balance.value_or(0.01);
  z_loss_ = options.z_loss.value_or(0.001);
  bias_update_ = options.bias_update.value_or(moe.selection_bias ? 0.001 : 0);
  if (bias_update_ > 0 && !moe.selection_bias)
    fail_at(options.where,
            "bias_update: the model has no biases of experts: expected foretell_selection_bias: true in its config");
  if (options.router.is_null()) return;
  BuildContext context;
  context.vocab = model.config().vocab_size;
  router_ = Registry<Router>::instance().make(options.router, context);
  if (const auto why = router_->unsupported_reason(model::expert_rule(moe)))
    fail_at(options.router.blamed(), "{} does not fit this model: {}", router_->label(), *why);
}

void ExpertBalance::add(const autograd::ExpertRun& run, double share, autograd::TrainLoss& loss) {
  const auto count = static_cast<double>(run.layers.size());
  double balance = 0, z = 0;
  std::vector<autograd::LossTerm> measures;
  const auto measure = [&](const char* name, int layer, double value) {
    measures.push_back({fmt::format("{}.layer{}", name, layer), at::full({}, share * value, at::kDouble)});
  };
  for (std::size_t i = 0; i < run.layers.size(); ++i) {
    const autograd::RoutedStates& states = run.layers[i];
    const at::Tensor of_balance = autograd::load_balance_loss(states), of_z = autograd::router_z_loss(states);
    loss.total = loss.total + (load_balance_ * of_balance + z_loss_ * of_z) * (share / count);
    balance += share * of_balance.item<double>() / count;
    z += share * of_z.item<double>() / count;
    loads_[i].resize(states.load.size());
    for (std::size_t expert = 0; expert < states.load.size(); ++expert) loads_[i][expert] += states.load[expert];
    const moe::LoadStatistics statistics = moe::load_statistics(states.load).value_or(moe::LoadStatistics{});
    measure("max_violation", layers_[i], statistics.max_violation);
    measure("load_variation", layers_[i], statistics.variation);
    measure("load_entropy", layers_[i], statistics.entropy);
    measure("dropped_rows", layers_[i],
            states.rows > 0 ? static_cast<double>(states.dropped) / static_cast<double>(states.rows) : 0);
    measure("neighbour_share", layers_[i],
            states.pairs > 0 ? static_cast<double>(states.shared) / static_cast<double>(states.pairs) : 0);
  }
  if (run.layers.empty()) return;
  loss.terms.push_back({"load_balance", at::full({}, balance, at::kDouble)});
  loss.terms.push_back({"z_loss", at::full({}, z, at::kDouble)});
  loss.terms.insert(loss.terms.end(), measures.begin(), measures.end());
}

void ExpertBalance::after_step(const autograd::TrainableTransformer& model) {
  const c10::NoGradGuard no_grad;
  const auto biases = model.selection_biases();
  for (std::size_t i = 0; i < loads_.size(); ++i) {
    std::vector<std::int64_t> load = std::move(loads_[i]);
    loads_[i].clear();
    if (bias_update_ <= 0 || load.empty()) continue;
    double mean = 0;
    for (const std::int64_t rows : load) mean += static_cast<double>(rows) / static_cast<double>(load.size());
    std::vector<float> steps;
    for (const std::int64_t rows : load) {
      const double lack = mean - static_cast<double>(rows);
      steps.push_back(static_cast<float>(lack > 0 ? bias_update_ : lack < 0 ? -bias_update_ : 0));
    }
    biases[i].second.detach().add_(at::tensor(steps, at::kFloat).to(biases[i].second.device()));
  }
}

}  // namespace foretell::training::learners
