// What keeps the experts of a trained mixture evenly loaded, and how even they are.
//
// Contract: the keys `router`, `load_balance`, `z_loss` and `bias_update` of a learner. Losses are means over the
// layers with experts, and over the parts of a step by the share of its loss that each part has. The bias update (Wang
// et al. 2024, arXiv 2408.15664) adds bias_update * sign(mean load - load) to each expert's bias after a step, from the
// loads of that step: no gradient, and the bias enters the choice alone. Measures of every layer are terms of the loss
// that count nothing: a column each in the curve.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "framework/api/router.h"
#include "framework/training/autograd/trainable_transformer.h"

namespace foretell {
struct BuildContext;
}  // namespace foretell

namespace foretell::training::learners {

struct BalanceOptions {
  ConfigValue router = {};
  std::optional<double> load_balance = {}, z_loss = {}, bias_update = {};
  Location where = {};
  void declare(Parameters& p);
};

class ExpertBalance {
 public:
  // An Error at the option's place for what the model cannot do: options of experts for a dense one, a router that does
  // not fit, a bias update without biases.
  ExpertBalance(const BalanceOptions& options, const autograd::TrainableTransformer& model);

  autograd::ExpertRun run() const { return {.router = router_.get()}; }
  // Adds losses and measures of one forward. `share`: of the step's loss that the batch has.
  void add(const autograd::ExpertRun& run, double share, autograd::TrainLoss& loss);
  // Moves the biases of the model by the loads that add() saw since the last call.
  void after_step(const autograd::TrainableTransformer& model);

 private:
  double load_balance_ = 0, z_loss_ = 0, bias_update_ = 0;
  std::shared_ptr<const Router> router_;
  std::vector<int> layers_;                       // with experts
  std::vector<std::vector<std::int64_t>> loads_;  // of each of them, since the last step
};

}  // namespace foretell::training::learners
