#include "framework/training/autograd/expert_ops.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>

#include "framework/core/error.h"
#include "framework/kernels/training/training_tensors.h"
#include "framework/training/autograd/training_ops.h"

namespace foretell::autograd {
namespace {

using kernels::training::AutogradContext;
using kernels::training::Function;
using kernels::training::variable_list;

enum class WeightForm { Softmax, Sigmoid, SqrtSoftplus, Positive };
constexpr std::array kForms = {WeightForm::Softmax, WeightForm::Sigmoid, WeightForm::SqrtSoftplus,
                               WeightForm::Positive};
constexpr double kAlike = 1e-4;  // relative: what a router computes in float64 and rounds, against float32

at::Tensor scores_of(const at::Tensor& logits, WeightForm form) {
  switch (form) {
    case WeightForm::Softmax: return logits.softmax(1);
    case WeightForm::Sigmoid: return at::sigmoid(logits);
    case WeightForm::SqrtSoftplus: return at::softplus(logits).clamp_min(1e-20).sqrt();
    case WeightForm::Positive: break;
  }
  return at::relu(logits);
}

// The choice of all rows as tensors: entries without an expert have the index 0 and the mask 0.
struct Choice {
  at::Tensor index, mask, weights;  // [rows, per_row]: int64, float, float
};

Choice choice_of(const Routing& routing, std::int64_t rows) {
  const std::int64_t width = routing.per_row;
  FORETELL_CHECK(static_cast<std::int64_t>(routing.experts.size()) == rows * width, "{} entries of {} rows",
                 routing.experts.size(), rows);
  Choice out{at::empty({rows, width}, at::kLong), at::empty({rows, width}), at::empty({rows, width})};
  auto* const index = out.index.mutable_data_ptr<std::int64_t>();
  auto* const mask = out.mask.mutable_data_ptr<float>();
  auto* const weights = out.weights.mutable_data_ptr<float>();
  for (std::size_t i = 0; i < routing.experts.size(); ++i) {
    const bool there = routing.experts[i] >= 0;
    index[i] = there ? routing.experts[i] : 0;
    mask[i] = there ? 1 : 0;
    weights[i] = there ? routing.weights[i] : 0;
  }
  return out;
}

// Weights in a graph: the form of the scores, as they are or divided by their sum over a row's entries.
at::Tensor weights_as(const at::Tensor& logits, const Choice& choice, WeightForm form, bool shared_out) {
  const at::Tensor chosen = scores_of(logits, form).gather(1, choice.index) * choice.mask;
  return shared_out ? chosen / chosen.sum(1, true).clamp_min(1e-20) : chosen;
}

// The constant that makes `of` the router's weights, on all entries; none if there is none.
std::optional<double> scale_between(const at::Tensor& of, const at::Tensor& weights) {
  const double sum = of.sum().item<double>();
  if (!(sum > 0)) return std::nullopt;
  const double scale = weights.sum().item<double>() / sum;
  const at::Tensor difference = (of * scale - weights).abs();
  const bool alike = (difference <= kAlike * weights.abs() + 1e-6 * std::abs(scale)).all().item<bool>();
  return alike ? std::optional(scale) : std::nullopt;
}

// Weights whose derivative is that of finite differences: rows of [per_row, experts].
class DifferencedFunction : public Function<DifferencedFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& logits, const at::Tensor& weights,
                            const at::Tensor& slopes) {
    context->save_for_backward({slopes});
    return weights.to(logits.options());
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const at::Tensor slopes = context->get_saved_variables()[0];
    return {(grads[0].unsqueeze(2) * slopes).sum(1), at::Tensor(), at::Tensor()};
  }
};

class RouterCalls {
 public:
  RouterCalls(const RoutedBatch& batch, int layer, std::span<const float> bias)
      : batch_(batch), layer_(layer), bias_(bias) {}

  Routing route(const std::vector<float>& logits) const {
    return batch_.router.route({static_cast<int>(batch_.positions.size()), logits, batch_.positions, batch_.tokens,
                                batch_.parents, batch_.items},
                               {layer_, batch_.rule, bias_});
  }

  // By entry and expert how much the entry's weight grows with the expert's logit. Where a choice falls otherwise
  // beside the logits as they are, on both sides, there is no slope.
  at::Tensor slopes(const std::vector<float>& logits, const Routing& routing) const {
    constexpr float kStep = 1e-2f;
    const auto width = static_cast<std::size_t>(batch_.rule.experts),
               per_row = static_cast<std::size_t>(routing.per_row);
    const std::size_t rows = logits.size() / width;
    at::Tensor out = at::zeros({static_cast<std::int64_t>(rows), routing.per_row, batch_.rule.experts});
    float* const slope = out.mutable_data_ptr<float>();
    for (std::size_t expert = 0; expert < width; ++expert) {
      std::vector<float> above = logits, below = logits;
      for (std::size_t row = 0; row < rows; ++row) {
        above[row * width + expert] += kStep;
        below[row * width + expert] -= kStep;
      }
      const Routing high = route(above), low = route(below);
      for (std::size_t i = 0; i < rows * per_row; ++i) {
        const bool is_high = high.experts[i] == routing.experts[i], is_low = low.experts[i] == routing.experts[i];
        if (routing.experts[i] < 0 || !(is_high || is_low)) continue;
        const float top = is_high ? high.weights[i] : routing.weights[i],
                    bottom = is_low ? low.weights[i] : routing.weights[i];
        slope[i * width + expert] =
            (top - bottom) / (kStep * (static_cast<float>(is_high) + static_cast<float>(is_low)));
      }
    }
    return out;
  }

 private:
  const RoutedBatch& batch_;
  int layer_;
  std::span<const float> bias_;
};

at::Tensor weights_of(const at::Tensor& logits, const Routing& routing, const Choice& choice, const RouterCalls& calls,
                      const std::vector<float>& host, const RoutedBatch& batch) {
  const at::Tensor plain = logits.detach().to(at::kFloat);
  for (const WeightForm form : kForms)
    for (const bool shared_out : {true, false})
      if (const auto scale = scale_between(weights_as(plain, choice, form, shared_out), choice.weights))
        return weights_as(logits, choice, form, shared_out) * *scale;
  if (!batch.router.row_independent())
    fail("router {}: its weights are no known function of the gate's logits, so that nothing can be learned through it",
         batch.router.label());
  return DifferencedFunction::apply(logits, choice.weights, calls.slopes(host, routing));
}

std::vector<float> host_floats(const at::Tensor& values) {
  const at::Tensor host = values.detach().to(at::kCPU, at::kFloat).contiguous();
  return {host.const_data_ptr<float>(), host.const_data_ptr<float>() + host.numel()};
}

// What expert `number` makes of its rows; undefined where it gives nothing.
at::Tensor expert_rows(const TrainableExperts& weights, const ExpertRule& rule, std::size_t number, const at::Tensor& x,
                       Activation activation) {
  if (number < weights.experts.size()) {
    const at::Tensor up = at::linear(x, weights.experts[number].up);
    return at::linear(gated_training(up, activation), weights.experts[number].down);
  }
  const std::size_t free = number - weights.experts.size(), zero = static_cast<std::size_t>(rule.zero),
                    copy = static_cast<std::size_t>(rule.copy);
  if (free < zero) return {};
  if (free < zero + copy) return x;
  const TrainableConstant& constant = weights.constants.at(free - zero - copy);
  const at::Tensor shares = at::linear(x, constant.mix).softmax(1);
  return x * shares.narrow(1, 0, 1) + shares.narrow(1, 1, 1) * constant.value;
}

void count(const Routing& routing, const RoutedBatch& batch, RoutedStates& states) {
  const auto per_row = static_cast<std::size_t>(routing.per_row);
  states.load.assign(static_cast<std::size_t>(batch.rule.experts), 0);
  states.rows = static_cast<std::int64_t>(batch.positions.size());
  const auto entries = [&](std::size_t row) { return std::span(routing.experts).subspan(row * per_row, per_row); };
  for (std::size_t row = 0; row < batch.positions.size(); ++row) {
    std::int64_t taken = 0, shared = 0;
    const int parent = batch.parents[row];
    for (const int expert : entries(row)) {
      if (expert < 0) continue;
      ++taken;
      ++states.load[static_cast<std::size_t>(expert)];
      if (parent >= 0) shared += std::ranges::count(entries(static_cast<std::size_t>(parent)), expert);
    }
    states.dropped += taken == 0 ? 1 : 0;
    if (parent < 0) continue;
    states.pairs += taken;
    states.shared += shared;
  }
}

}  // namespace

RoutedBatch routed_batch(const Router& router, const ExpertRule& rule, const TrainBatch& batch) {
  RoutedBatch out{router, rule};
  const auto rows = static_cast<std::size_t>(batch.tokens.size(0));
  const at::Tensor tokens = batch.tokens.to(at::kCPU, at::kLong).contiguous(),
                   positions = batch.positions.to(at::kCPU, at::kLong).contiguous();
  for (std::size_t row = 0; row < rows; ++row) {
    out.tokens.push_back(static_cast<Token>(tokens.const_data_ptr<std::int64_t>()[row]));
    const auto position = static_cast<int>(positions.const_data_ptr<std::int64_t>()[row]);
    out.positions.push_back(position);
    out.parents.push_back(position > 0 ? static_cast<int>(row) - 1 : -1);
  }
  for (const RowGroup& group : batch.groups)
    for (std::int64_t sequence = 0; sequence < group.sequences; ++sequence)
      out.items.push_back(
          {static_cast<int>(group.first_row + sequence * group.length), static_cast<int>(group.length), false});
  return out;
}

at::Tensor experts_training(const at::Tensor& x, const TrainableExperts& weights, int layer, const RoutedBatch& batch,
                            Activation activation, RoutedStates& states) {
  states.logits = at::linear(x, weights.gate).to(at::kFloat);
  const std::vector<float> logits = host_floats(states.logits);
  const std::vector<float> bias =
      weights.selection_bias.defined() ? host_floats(weights.selection_bias) : std::vector<float>{};
  const RouterCalls calls(batch, layer, bias);
  const Routing routing = calls.route(logits);
  count(routing, batch, states);
  Choice choice = choice_of(routing, x.size(0));
  for (at::Tensor* part : {&choice.index, &choice.mask, &choice.weights}) *part = part->to(x.device());
  const at::Tensor shares = weights_of(states.logits, routing, choice, calls, logits, batch).reshape({-1, 1});

  std::vector<std::vector<std::int64_t>> rows(static_cast<std::size_t>(batch.rule.experts)), entries(rows.size());
  for (std::size_t i = 0; i < routing.experts.size(); ++i) {
    if (routing.experts[i] < 0) continue;
    const auto expert = static_cast<std::size_t>(routing.experts[i]);
    rows.at(expert).push_back(static_cast<std::int64_t>(i) / routing.per_row);
    entries[expert].push_back(static_cast<std::int64_t>(i));
  }
  at::Tensor sum = at::zeros(x.sizes(), x.options().dtype(at::kFloat));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].empty()) continue;
    const at::Tensor at_rows = at::tensor(rows[i], at::kLong).to(x.device()),
                     at_entries = at::tensor(entries[i], at::kLong).to(x.device());
    const at::Tensor out = expert_rows(weights, batch.rule, i, at::embedding(x, at_rows), activation);
    if (!out.defined()) continue;
    sum = sum.index_add(0, at_rows, out.to(at::kFloat) * at::embedding(shares, at_entries));
  }
  return sum.to(x.scalar_type());
}

at::Tensor load_balance_loss(const RoutedStates& states) {
  const auto experts = static_cast<double>(states.load.size());
  double all = 0;
  for (const std::int64_t rows : states.load) all += static_cast<double>(rows);
  std::vector<float> shares;
  for (const std::int64_t rows : states.load)
    shares.push_back(static_cast<float>(static_cast<double>(rows) / std::max(all, 1.0)));
  const at::Tensor f = at::tensor(shares, at::kFloat).to(states.logits.device());
  return experts * (states.logits.softmax(1).mean(0) * f).sum();
}

at::Tensor router_z_loss(const RoutedStates& states) { return states.logits.logsumexp({1}).square().mean(); }

}  // namespace foretell::autograd
