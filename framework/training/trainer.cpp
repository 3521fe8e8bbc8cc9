#include "framework/training/trainer.h"

#include <ATen/core/Tensor.h>

#include <cmath>

#include "framework/core/error.h"
#include "framework/training/autograd/autocast.h"

namespace foretell::training {

Trainer::Trainer(std::shared_ptr<const autograd::Trainable> trainable, const TrainSettings& settings, at::Device device)
    : trainable_(std::move(trainable)),
      settings_(settings),
      device_(device),
      optimizer_(trainable_->parameters(), settings.optimizer) {}

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
  return report;
}

}  // namespace foretell::training
