// The optimiser's loop, one step at a time.
//
// Contract: a step takes the next samples, goes forward and backward over them (in `accumulate` parts, which together
// count as one batch), clips and changes the weights. Weights, moments and DataPosition are all of its state: a trainer
// that is given them goes on bit for bit as the one they were taken from would have, on the same machine with the same
// number of threads. With `optimizer.ema` an average of the weights is kept beside them. A loss or gradient that is not
// a number is an Error that names the step, and the weights are left as they were before it.
#pragma once

#include <functional>
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
  // `settings` must outlive the trainer. `prepare` completes each batch before its loss: with a target's states.
  Trainer(std::shared_ptr<autograd::Trainable> trainable, const TrainSettings& settings, at::Device device,
          std::function<void(autograd::TrainBatch&)> prepare = {});

  StepReport step(const SampleSource& source);

  AdamW& optimizer() { return optimizer_; }
  DataPosition& data() { return data_; }
  int steps_done() const { return optimizer_.steps_done(); }
  // By parameter its average; none where there is no `optimizer.ema`.
  std::vector<at::Tensor>& averages() { return averages_; }

  // While it lives the weights are their averages, to be evaluated or saved.
  class Averaged {
   public:
    explicit Averaged(Trainer& trainer) : trainer_(trainer) { trainer_.swap_averages(); }
    ~Averaged() { trainer_.swap_averages(); }
    Averaged(const Averaged&) = delete;
    Averaged& operator=(const Averaged&) = delete;

   private:
    Trainer& trainer_;
  };

 private:
  std::vector<std::vector<Sample>> next_samples(const SampleSource& source);
  void forward_backward(const std::vector<std::vector<Sample>>& parts, StepReport& report);
  void swap_averages();
  void add_to_averages();

  std::shared_ptr<autograd::Trainable> trainable_;
  const TrainSettings& settings_;
  at::Device device_;
  AdamW optimizer_;
  std::function<void(autograd::TrainBatch&)> prepare_;
  std::vector<at::Tensor> averages_;
  DataPosition data_;
};

}  // namespace foretell::training
