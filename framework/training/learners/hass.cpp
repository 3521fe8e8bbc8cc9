// The head of EAGLE trained as HASS does (Zhang et al. 2024, arXiv 2408.15766): as it will draft. Step 1 reads the
// target's states; each later step reads what the step before has said, one place on, and sees of the draft its own
// rows, so that the head learns to go on from its own states. The loss of a step is EAGLE's, plus the cross-entropy
// with the target on its `top_k` most probable tokens. No derivative goes through the states that a step reads.
//
// Deviation: the mean over the steps, where the released code goes backward from each: the learning rate means the same
// for any number of them.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/dot.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/softmax.h>

#include <algorithm>
#include <cstdint>

#include "framework/training/learners/feature_learner.h"

namespace foretell::training::learners {
namespace {

struct HassOptions {
  TargetSettings target;
  FeatureLossOptions loss;
  int steps = 3, top_k = 10;
  double top_k_weight = 1.0;
  void declare(Parameters& p) {
    target.declare(p);
    loss.declare(p);
    p.add("steps", steps, "of a draft that are trained", {.min = 1, .max = 16});
    p.add("top_k", top_k, "tokens of the target that the third term is about", {.min = 1, .max = 1 << 20});
    p.add("top_k_weight", top_k_weight, "its weight", {.min = 0.0});
  }
};

class HassLearner final : public FeatureLearner {
 public:
  using Options = HassOptions;
  HassLearner(Options options, const BuildContext&) : FeatureLearner(options.loss), options_(std::move(options)) {}

  const TargetSettings* target() const override { return &options_.target; }

  autograd::TrainLoss loss(const autograd::TrainBatch& batch) const override {
    std::vector<autograd::UnrolledStep> steps;
    at::Tensor states = read_states(batch), total;
    autograd::TrainLoss out;
    out.terms.push_back({"loss", {}});
    for (int i = 0; i < options_.steps; ++i) {
      const at::Tensor next = step(batch, states, steps);
      const Said rows = said(batch, next, i);
      const Terms all = terms(batch, rows);
      at::Tensor own = all.total;
      if (options_.top_k_weight > 0) own = own + top_tokens(rows) / batch.normaliser * options_.top_k_weight;
      total = i == 0 ? own : total + own;
      out.terms.push_back({fmt::format("loss.regression.{}", i + 1), all.regression});
      out.terms.push_back({fmt::format("loss.divergence.{}", i + 1), all.divergence});
      states = next.detach();
    }
    out.total = total / options_.steps;
    out.terms[0].value = out.total.detach();
    return out;
  }

 private:
  at::Tensor top_tokens(const Said& rows) const {
    const at::Tensor p = at::softmax(at::linear(rows.expected, output()), -1);
    const auto [most, which] = p.topk(std::min<std::int64_t>(options_.top_k, p.size(1)), -1);
    const at::Tensor log_q = at::log_softmax(at::linear(rows.state, output()), -1).gather(-1, which);
    return at::dot((most * log_q).sum(-1).neg(), rows.weights);
  }

  Options options_;
};

FORETELL_REGISTER(Learner, HassLearner, "hass",
                  {.summary = "EAGLE's decoder layer, trained over the steps of a draft",
                   .paper = {"Zhang et al.", 2024, "2408.15766"}});

}  // namespace
}  // namespace foretell::training::learners
