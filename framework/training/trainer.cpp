#include "framework/training/trainer.h"

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "framework/core/error.h"
#include "framework/training/autograd/autocast.h"

namespace foretell::training {

Trainer::Trainer(std::shared_ptr<autograd::Trainable> trainable, const TrainSettings& settings, at::Device device,
                 std::function<void(autograd::TrainBatch&)> prepare)
    : trainable_(std::move(trainable)),
      settings_(settings),
      device_(device),
      optimizer_(trainable_->parameters(), settings.optimizer),
      prepare_(std::move(prepare)) {
  if (settings.optimizer.ema <= 0) return;
  for (const autograd::TrainParameter& parameter : optimizer_.parameters())
    averages_.push_back(parameter.value.detach().clone());
}

void Trainer::swap_averages() {
  const c10::NoGradGuard no_grad;
  for (std::size_t i = 0; i < averages_.size(); ++i) {
    const at::Tensor& value = optimizer_.parameters()[i].value;
    const at::Tensor newest = value.detach().clone();
    value.copy_(averages_[i]);
    averages_[i].copy_(newest);
  }
}

// The decay grows to its value over the first steps, (1 + n) / (10 + n) after n of them, so that the weights of the
// start are soon forgotten.
void Trainer::add_to_averages() {
  const c10::NoGradGuard no_grad;
  const double n = steps_done(), decay = std::min(settings_.optimizer.ema, (1 + n) / (10 + n));
  for (std::size_t i = 0; i < averages_.size(); ++i)
    averages_[i].mul_(decay).add_(optimizer_.parameters()[i].value.detach(), 1 - decay);
}

std::vector<std::vector<Sample>> Trainer::next_samples(const SampleSource& source) {
  std::vector<std::vector<Sample>> parts;
  parts.reserve(static_cast<std::size_t>(settings_.batch.accumulate));
  for (int part = 0; part < settings_.batch.accumulate; ++part)
    parts.push_back(take_samples(source, settings_.batch, data_));
  return parts;
}

void Trainer::forward_backward(const std::vector<std::vector<Sample>>& parts, StepReport& report) {
  double weight = 0;
  for (const auto& part : parts) weight += total_weight(part);
  for (const auto& part : parts) {
    autograd::TrainBatch batch = make_batch(part, device_);
    if (batch.loss_rows.size(0) == 0) continue;
    batch.normaliser = weight;
    batch.step = optimizer_.steps_done();
    batch.steps = settings_.run.steps;
    if (prepare_) prepare_(batch);
    autograd::TrainLoss loss;
    {
      const autograd::Autocast autocast(device_, settings_.run.dtype == "bf16");
      loss = trainable_->loss(batch);
    }
    loss.total.backward();
    report.losses.resize(loss.terms.size());
    for (std::size_t i = 0; i < loss.terms.size(); ++i) {
      report.losses[i].first = loss.terms[i].name;
      report.losses[i].second += loss.terms[i].value.item<double>();
    }
  }
}

StepReport Trainer::step(const SampleSource& source) {
  StepReport report;
  report.step = optimizer_.steps_done() + 1;
  report.learning_rate = learning_rate_at(settings_.optimizer, optimizer_.steps_done(), settings_.run.steps);
  forward_backward(next_samples(source), report);
  report.gradient_norm = optimizer_.gradient_norm();
  double sum = report.gradient_norm;
  for (const auto& [name, value] : report.losses) sum += value;
  if (!std::isfinite(sum)) {
    optimizer_.clear_gradients();
    fail("step {}: the loss or its gradient is not a finite number: lower optimizer.learning_rate or optimizer.clip",
         report.step);
  }
  const double clip = settings_.optimizer.clip;
  optimizer_.step(report.learning_rate, clip > 0 && report.gradient_norm > clip ? report.gradient_norm / clip : 1.0);
  optimizer_.clear_gradients();
  trainable_->after_step();
  add_to_averages();
  return report;
}

}  // namespace foretell::training
