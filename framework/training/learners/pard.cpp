// A draft model with mask tokens (PARD, An et al. 2025, arXiv 2504.18583): cross-entropy of the answers by the rows of
// text and by masks in their place, each depth on fewer rows than the one before.
//
// Deviation: only rows with a loss are copied; the paper's share is of all rows.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include "framework/training/language_loss.h"
#include "framework/training/learners/mask_learner.h"

namespace foretell::training::learners {
namespace {

class PardLearner final : public MaskLearner {
 public:
  using Options = MaskLearnerOptions;
  PardLearner(Options options, const BuildContext&) : MaskLearner(std::move(options)) {}

  autograd::TrainLoss loss(const autograd::TrainBatch& batch) const override {
    MaskedBatch all = masked(batch);
    // A mean over all rows, as much of it as this batch is of its step.
    all.rows.normaliser *= batch.normaliser / batch.weights.sum().item<double>();
    return LanguageLoss(model_).loss(all.rows);
  }

 private:
  const char* name() const override { return "pard"; }
};

FORETELL_REGISTER(Learner, PardLearner, "pard",
                  {.summary = "a draft model with mask tokens: all tokens of a draft in one forward",
                   .paper = {"An et al.", 2025, "2504.18583"}});

}  // namespace
}  // namespace foretell::training::learners
