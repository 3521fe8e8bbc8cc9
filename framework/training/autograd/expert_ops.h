// Mixtures of experts with a derivative: who goes where is a router's choice, what comes of it a graph.
//
// Contract: a router chooses experts and says how much each counts; the choice has no derivative. Its weights have the
// one with respect to the gate's logits that they are recognised to be a function of: softmax over all experts,
// sigmoid, square root of softplus, the logit itself where it is positive, each as it is or divided by the sum over a
// row's experts, times a constant. Weights that are none of these (a router's own noise or masks) have the derivative
// that finite differences of the router give, which needs a row-independent one. Rows are gathered by expert; each
// expert multiplies its rows once.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "framework/api/router.h"
#include "framework/core/activation.h"
#include "framework/training/autograd/trainable.h"

namespace foretell::autograd {

struct TrainableExpert {
  at::Tensor up, down;  // [2 * size, hidden], the gate first; [hidden, size]
};

struct TrainableConstant {
  at::Tensor mix, value;  // [2, hidden], [1, hidden]
};

struct TrainableExperts {
  at::Tensor gate;            // [experts, hidden], of those without matrices, too
  at::Tensor selection_bias;  // [experts], or undefined; has no derivative
  std::vector<TrainableExpert> experts;
  std::vector<TrainableConstant> constants = {};
};

// What a batch's rows are, for routers.
struct RoutedBatch {
  const Router& router;
  const ExpertRule& rule;
  std::vector<int> positions = {}, parents = {};
  std::vector<Token> tokens = {};
  std::vector<RoutedItem> items = {};
};
RoutedBatch routed_batch(const Router& router, const ExpertRule& rule, const TrainBatch& batch);

// What happened in one layer.
struct RoutedStates {
  at::Tensor logits;                    // [rows, experts], with a graph
  std::vector<std::int64_t> load = {};  // by expert, rows
  std::int64_t rows = 0, dropped = 0;
  std::int64_t pairs = 0, shared = 0;  // experts of rows with a row before them in their text, and how many it has too
};

// x [rows, hidden] -> [rows, hidden], the weighted sum of each row's experts; zero for a row that no expert took.
at::Tensor experts_training(const at::Tensor& x, const TrainableExperts& weights, int layer, const RoutedBatch& batch,
                            Activation activation, RoutedStates& states);

// E sum_e f_e P_e: f_e the share of all entries that expert e got, P_e its mean probability (softmax of the logits). 1
// where both are even (Fedus et al. 2021, arXiv 2101.03961, in Megatron's form: f adds up to 1 whatever k is).
at::Tensor load_balance_loss(const RoutedStates& states);
// Mean squared log of the sum of the exponentials of a row's logits (Zoph et al. 2022, arXiv 2202.08906).
at::Tensor router_z_loss(const RoutedStates& states);

}  // namespace foretell::autograd
