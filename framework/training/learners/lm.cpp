// A language model that learns the next token of its data.
#include "framework/training/language_loss.h"
#include "framework/training/learners/model_learner.h"

namespace foretell::training::learners {
namespace {

class LmLearner final : public ModelLearner {
 public:
  using Options = NoOptions;
  LmLearner(const Options&, const BuildContext&) {}

  autograd::TrainLoss loss(const autograd::TrainBatch& batch) const override {
    return LanguageLoss(model_).loss(batch);
  }
  std::optional<DraftedBy> drafter(const std::filesystem::path&, int) const override { return std::nullopt; }
};

FORETELL_REGISTER(Learner, LmLearner, "lm", {.summary = "a language model: cross-entropy of the next token"});

}  // namespace
}  // namespace foretell::training::learners
