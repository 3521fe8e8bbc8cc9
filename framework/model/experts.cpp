#include "framework/model/experts.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "framework/core/error.h"
#include "framework/kernels/kernels.h"

namespace foretell::model {
namespace {

class CheckpointRouter final : public Router {
 public:
  Routing route(const RouterRows& rows, const RouterContext& context) const override {
    return route_by_rule(rows, context, context.rule);
  }
  bool row_independent() const override { return true; }
};

at::ScalarType sum_type(const at::Tensor& x) { return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat; }

std::vector<float> to_floats(const at::Tensor& values) {
  const at::Tensor host = values.to(at::kCPU, at::kFloat).contiguous();
  const float* data = host.const_data_ptr<float>();
  return {data, data + host.numel()};
}

// The rows of one expert and their weights.
struct SentRows {
  std::vector<std::int64_t> rows;
  std::vector<float> weights;
};

std::vector<SentRows> sort_by_expert(const Routing& routing, std::int64_t rows, int experts) {
  const std::size_t count = static_cast<std::size_t>(rows * routing.per_row);
  FORETELL_CHECK(routing.experts.size() == count && routing.weights.size() == count,
                 "a routing of {} entries for {} rows of {}", routing.experts.size(), rows, routing.per_row);
  std::vector<SentRows> sent(static_cast<std::size_t>(experts));
  for (std::size_t i = 0; i < count; ++i) {
    const int expert = routing.experts[i];
    if (expert < 0) continue;
    FORETELL_CHECK(expert < experts, "expert {} of {}", expert, experts);
    SentRows& to = sent[static_cast<std::size_t>(expert)];
    const auto row = static_cast<std::int64_t>(i / static_cast<std::size_t>(routing.per_row));
    FORETELL_CHECK(to.rows.empty() || to.rows.back() != row, "row {} goes to expert {} twice", row, expert);
    to.rows.push_back(row);
    to.weights.push_back(routing.weights[i]);
  }
  return sent;
}

}  // namespace

ExpertRule expert_rule(const formats::MoeConfig& moe) {
  return {.experts = moe.routed(),
          .experts_per_token = moe.experts_per_token,
          .score = moe.score == formats::MoeConfig::Score::Softmax ? GateScore::Softmax : GateScore::Sigmoid,
          .normalised = moe.normalised,
          .scale = moe.scale,
          .groups = moe.groups,
          .groups_kept = moe.groups_kept,
          .zero = moe.zero,
          .copy = moe.copy,
          .constant = moe.constant};
}

const Router& checkpoint_router() {
  static const CheckpointRouter kRouter;
  return kRouter;
}

ExpertBlock::ExpertBlock(const formats::ModelConfig& config, int layer, ExpertWeights weights)
    : moe_(config.moe),
      rule_(expert_rule(config.moe)),
      activation_(config.activation),
      layer_(layer),
      weights_(std::move(weights)) {
  gate_ = Linear(weights_.gate.to(sum_type(weights_.gate)), {});
  // Packed, a row's logits do not depend on the rows beside it.
  gate_.pack();
  weights_.gate = at::Tensor();
  if (weights_.shared_gate.defined()) {
    shared_gate_ = Linear(weights_.shared_gate.to(sum_type(weights_.shared_gate)), {});
    shared_gate_.pack();
    weights_.shared_gate = at::Tensor();
  }
  if (weights_.selection_bias.defined()) selection_bias_ = to_floats(weights_.selection_bias);
}

std::vector<float> ExpertBlock::logits_of(const at::Tensor& x) const {
  return to_floats(gate_.forward(x.to(sum_type(x))));
}

Routing ExpertBlock::routing_of(const at::Tensor& x, const ExpertContext& context) const {
  const std::vector<float> logits = logits_of(x);
  const Router& router = context.router ? *context.router : checkpoint_router();
  return router.route(
      {static_cast<int>(x.size(0)), logits, context.positions, context.tokens, context.parents, context.items},
      {layer_, rule_, selection_bias_});
}

at::Tensor ExpertBlock::rows_of(const Expert& expert, const at::Tensor& x) const {
  return mlp_rows(x, expert.up, expert.down, activation_, true).to(sum_type(x));
}

at::Tensor ExpertBlock::free_rows(int expert, const at::Tensor& x) const {
  const int number = expert - moe_.experts;
  if (number < moe_.zero) return {};
  at::Tensor rows = x.to(sum_type(x));
  if (number < moe_.zero + moe_.copy) return rows;
  const ConstantExpert& constant = weights_.constants[static_cast<std::size_t>(number - moe_.zero - moe_.copy)];
  // Row by row, whatever is beside it.
  const at::Tensor shares = rows.unsqueeze(1).mul(constant.mix.to(rows.scalar_type())).sum(2).softmax(1);
  return rows.mul(shares.narrow(1, 0, 1)).add(shares.narrow(1, 1, 1).mul(constant.value.to(rows.scalar_type())));
}

void ExpertBlock::add_shared(const at::Tensor& x, at::Tensor& sum) const {
  at::Tensor rows = rows_of(weights_.shared, x);
  if (shared_gate_.outputs() > 0) rows = rows.mul(kernels::sigmoid(shared_gate_.forward(x.to(sum_type(x)))));
  sum.add_(rows);
}

at::Tensor ExpertBlock::forward(const at::Tensor& x, const ExpertContext& context) const {
  Routing routing = routing_of(x, context);
  const std::vector<SentRows> sent = sort_by_expert(routing, x.size(0), moe_.routed());
  if (context.by_row) {
    context.by_row->assign(static_cast<std::size_t>(x.size(0)), 0);
    for (const SentRows& one : sent)
      for (const std::int64_t row : one.rows) ++(*context.by_row)[static_cast<std::size_t>(row)];
  }
  at::Tensor sum = at::zeros(x.sizes(), x.options().dtype(sum_type(x)));
  for (std::size_t i = 0; i < sent.size(); ++i) {
    const SentRows& one = sent[i];
    if (one.rows.empty()) continue;
    const auto number = static_cast<int>(i);
    const auto of = [&](const at::Tensor& rows) {
      return number < moe_.experts ? rows_of(weights_.experts[i], rows) : free_rows(number, rows);
    };
    if (number >= moe_.experts && number < moe_.experts + moe_.zero) continue;
    if (x.size(0) == 1) {
      sum.add_(of(x).mul(one.weights[0]));  // rounded twice, as below: a row alone is what it is in a batch
      continue;
    }
    const at::Tensor rows = at::tensor(one.rows, at::kLong).to(x.device());
    const at::Tensor weights = at::tensor(one.weights, at::kFloat).to(sum.options()).unsqueeze(1);
    sum.index_add_(0, rows, of(x.index_select(0, rows)).mul(weights));
  }
  if (context.routed != nullptr) {
    context.routed->per_row = routing.per_row;
    context.routed->experts = std::move(routing.experts);
  }
  if (moe_.shared_size > 0) add_shared(x, sum);
  return sum.to(x.scalar_type());
}

void ExpertBlock::round_weights(const WeightRounding& to) {
  const auto round = [&](Expert& expert) { expert = {expert.up.rounded(to, true), expert.down.rounded(to, false)}; };
  for (Expert& expert : weights_.experts) round(expert);
  round(weights_.shared);
}

std::size_t ExpertBlock::bytes_for_one_row() const {
  return gate_.bytes() + shared_gate_.bytes() + weights_.shared.bytes() +
         static_cast<std::size_t>(moe_.experts_per_token) * weights_.experts[0].bytes();
}

}  // namespace foretell::model
