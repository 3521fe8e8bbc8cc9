#include "framework/training/adamw.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace foretell::training {

double learning_rate_at(const OptimizerSettings& settings, int step, int steps) {
  if (step < settings.warmup_steps) return settings.learning_rate * (step + 1) / settings.warmup_steps;
  const double span = std::max(1, steps - 1 - settings.warmup_steps);
  const double progress = std::clamp((step - settings.warmup_steps) / span, 0.0, 1.0);
  const double left = settings.schedule == "linear"     ? 1 - progress
                      : settings.schedule == "constant" ? 1
                                                        : 0.5 * (1 + std::cos(std::numbers::pi * progress));
  const double share = settings.min_lr_ratio + (1 - settings.min_lr_ratio) * left;
  return settings.learning_rate * share;
}

AdamW::AdamW(std::vector<autograd::TrainParameter> parameters, const OptimizerSettings& settings)
    : parameters_(std::move(parameters)), settings_(settings) {
  for (const autograd::TrainParameter& parameter : parameters_)
    moments_.push_back({at::zeros_like(parameter.value.detach()), at::zeros_like(parameter.value.detach())});
}

void AdamW::set_steps_done(int steps) { steps_done_ = steps; }

double AdamW::gradient_norm() const {
  std::vector<at::Tensor> norms;
  for (const autograd::TrainParameter& parameter : parameters_)
    if (parameter.value.grad().defined()) norms.push_back(at::linalg_vector_norm(parameter.value.grad()));
  return norms.empty() ? 0.0 : at::linalg_vector_norm(at::stack(norms)).item<double>();
}

void AdamW::step(double learning_rate, double divide_by) {
  const c10::NoGradGuard no_grad;
  const auto scale =
      divide_by == 1 ? std::optional<at::Tensor>() : at::scalar_tensor(divide_by, parameters_[0].value.options());
  for (const bool decays : {true, false}) {
    std::vector<at::Tensor> values, gradients, first, second, steps;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const autograd::TrainParameter& parameter = parameters_[i];
      if (parameter.decays != decays || !parameter.value.grad().defined()) continue;
      values.push_back(parameter.value);
      gradients.push_back(parameter.value.grad());
      first.push_back(moments_[i].first);
      second.push_back(moments_[i].second);
      steps.push_back(at::scalar_tensor(steps_done_ + 1, parameter.value.options()));
    }
    if (values.empty()) continue;
    at::_fused_adamw_(values, gradients, first, second, {}, steps, learning_rate, settings_.betas[0],
                      settings_.betas[1], decays ? settings_.weight_decay : 0.0, settings_.eps, false, false, scale);
  }
  ++steps_done_;
}

void AdamW::clear_gradients() {
  for (autograd::TrainParameter& parameter : parameters_) parameter.value.mutable_grad().reset();
}

}  // namespace foretell::training
