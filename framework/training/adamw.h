// AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) and the schedule of its learning rate.
//
// Contract: owns the two moments of every parameter, in the parameters' order, and the number of steps done; together
// they are all its state. step() uses the parameters' gradients and leaves them as they are but for the clipping; a
// parameter without one is not touched.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "framework/training/autograd/trainable.h"
#include "framework/training/settings.h"

namespace foretell::training {

// Rises in a line over the warm-up, then falls along half a cosine, or a line, to min_lr_ratio at the last step, or
// stays. `step` counts from 0.
double learning_rate_at(const OptimizerSettings& settings, int step, int steps);

class AdamW {
 public:
  struct Moments {
    at::Tensor first, second;
  };

  AdamW(std::vector<autograd::TrainParameter> parameters, const OptimizerSettings& settings);

  const std::vector<autograd::TrainParameter>& parameters() const { return parameters_; }
  std::vector<Moments>& moments() { return moments_; }
  int steps_done() const { return steps_done_; }
  void set_steps_done(int steps);

  // The norm of all gradients taken as one vector.
  double gradient_norm() const;
  // `divide_by`: what gradients are divided by first (clipping); 1 for nothing.
  void step(double learning_rate, double divide_by);
  void clear_gradients();

 private:
  std::vector<autograd::TrainParameter> parameters_;
  std::vector<Moments> moments_;
  OptimizerSettings settings_;
  int steps_done_ = 0;
};

}  // namespace foretell::training
