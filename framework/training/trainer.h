// The optimiser's loop, one step at a time.
//
// Contract: a step takes the next samples, goes forward and backward over them (in `accumulate` parts, which together
// count as one batch), clips and changes the weights. Weights, moments and DataPosition are all of its state: a trainer
// that is given them goes on bit for bit as the one they were taken from would have, on the same machine with the same
// number of threads. A loss or gradient that is not a number is an Error that names the step, and the weights are left
// as they were before it.
#pragma once

#include <memory>
#include <vector>

#include "framework/training/adamw.h"
#include "framework/training/autograd/trainable.h"
#include "framework/training/batches.h"

namespace foretell::training {

struct StepReport {
  int step = 0;  // of those done, so from 1
  double learning_rate = 0;
  double gradient_norm = 0;  // before clipping
  std::vector<std::pair<std::string, double>> losses;
};

class Trainer {
 public:
  // `settings` must outlive the trainer.
  Trainer(std::shared_ptr<const autograd::Trainable> trainable, const TrainSettings& settings, at::Device device);

  StepReport step(const SampleSource& source);

  AdamW& optimizer() { return optimizer_; }
  DataPosition& data() { return data_; }
  int steps_done() const { return optimizer_.steps_done(); }

 private:
  std::vector<std::vector<Sample>> next_samples(const SampleSource& source);
  void forward_backward(const std::vector<std::vector<Sample>>& parts, StepReport& report);

  std::shared_ptr<const autograd::Trainable> trainable_;
  const TrainSettings& settings_;
  at::Device device_;
  AdamW optimizer_;
  DataPosition data_;
};

}  // namespace foretell::training
