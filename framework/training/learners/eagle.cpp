// The head of EAGLE (Li et al. 2024, arXiv 2401.15077): a decoder layer on a frozen target that says the next state
// from the last one and the token behind it. The loss is the smooth L1 distance of states plus the divergence of the
// distributions that the target's head makes of them; states that are read get a little uniform noise, because a draft
// goes on from states that are not exact.
//
// Deviation: the paper's second term is the cross-entropy with the target's distribution; the divergence differs from
// it by a constant.
#include <ATen/core/Tensor.h>

#include "framework/training/learners/feature_learner.h"

namespace foretell::training::learners {
namespace {

struct EagleOptions {
  TargetSettings target;
  FeatureLossOptions loss;
  void declare(Parameters& p) {
    target.declare(p);
    loss.declare(p);
  }
};

class EagleLearner final : public FeatureLearner {
 public:
  using Options = EagleOptions;
  EagleLearner(Options options, const BuildContext&) : FeatureLearner(options.loss), options_(std::move(options)) {}

  const TargetSettings* target() const override { return &options_.target; }

  autograd::TrainLoss loss(const autograd::TrainBatch& batch) const override {
    std::vector<autograd::UnrolledStep> steps;
    const Terms all = terms(batch, said(batch, step(batch, read_states(batch), steps), 0));
    return {all.total,
            {{"loss", all.total.detach()}, {"loss.regression", all.regression}, {"loss.divergence", all.divergence}}};
  }

 private:
  Options options_;
};

FORETELL_REGISTER(Learner, EagleLearner, "eagle",
                  {.summary = "EAGLE's decoder layer on a frozen target",
                   .paper = {"Li et al.", 2024, "2401.15077"},
                   .also_known_as = {"EAGLE-1"}});

}  // namespace
}  // namespace foretell::training::learners
