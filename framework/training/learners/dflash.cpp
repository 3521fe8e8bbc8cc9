// The head of DFlash (z-lab, 2026) on a frozen target: blocks of masks that learn the target's distributions, early
// slots more than late ones.
#include <ATen/core/Tensor.h>

#include "framework/training/learners/block_learner.h"

namespace foretell::training::learners {
namespace {

class DFlashLearner final : public BlockLearner {
 public:
  using Options = BlockLearnerOptions;
  DFlashLearner(Options options, const BuildContext&) : BlockLearner(std::move(options)) {}

 private:
  const char* name() const override { return "dflash"; }
};

FORETELL_REGISTER(Learner, DFlashLearner, "dflash", {.summary = "DFlash's block of masks on a frozen target"});

}  // namespace
}  // namespace foretell::training::learners
