// A draft model that learns to say what its target would say: a mix of cross-entropy on the target's answers and
// divergences from its distribution (Zhou et al. 2024, arXiv 2310.08461, compare them).
#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <c10/core/GradMode.h>

#include "framework/core/error.h"
#include "framework/formats/model_weights.h"
#include "framework/training/distillation.h"
#include "framework/training/language_loss.h"
#include "framework/training/learners/model_learner.h"

namespace foretell::training::learners {
namespace {

struct DistillOptions {
  TargetSettings target;
  kernels::training::DistillMix mix;
  Location where = {};
  void declare(Parameters& p) {
    where = p.where();
    target.declare(p);
    p.add("temperature", mix.temperature, "of both distributions in kl and tvd", {.min = 0.01, .max = 100.0});
    p.add("ce", mix.ce, "weight of the cross-entropy of the answers", {.min = 0.0});
    p.add("kl", mix.kl, "weight of the forward divergence KL(target || draft)", {.min = 0.0});
    p.add("tvd", mix.tvd, "weight of the total variation distance: one minus the expected acceptance", {.min = 0.0});
  }
};

class DistillLearner final : public ModelLearner {
 public:
  using Options = DistillOptions;
  DistillLearner(Options options, const BuildContext&) : options_(std::move(options)) {
    if (options_.mix.ce + options_.mix.kl + options_.mix.tvd <= 0)
      fail_at(options_.where, "distill: ce, kl and tvd are all 0: nothing is learned");
  }

  const TargetSettings* target() const override { return &options_.target; }

  void set_up(const LearnerInputs& inputs) override {
    ModelLearner::set_up(inputs);
    const std::string& folder = *options_.target.folder;
    const formats::ModelConfig& config = inputs.target->config();
    check_vocabulary(*inputs.target, options_.target);
    const auto teacher = std::make_shared<autograd::TrainableTransformer>(config, inputs.device);
    teacher->load(folder);
    teacher->freeze();
    loss_ = std::make_unique<DistillationLoss>(model_, teacher, options_.mix);
  }

  autograd::TrainLoss loss(const autograd::TrainBatch& batch) const override { return loss_->loss(batch); }

  at::Tensor draft_hits(const autograd::TrainBatch& batch, int depth) const override {
    const c10::NoGradGuard no_grad;
    const at::Tensor state = loss_states(model_->forward(batch), batch);
    at::Tensor hit = at::full({batch.tokens.size(0)}, -1, at::kChar);
    hit.index_copy_(0, batch.loss_rows, model_->logits(state).argmax(-1).eq(batch.targets).to(at::kChar));
    std::vector<at::Tensor> depths;
    for (int i = 1; i <= depth; ++i) depths.push_back(shifted(hit, batch, i, -1));
    return at::stack(depths);
  }

  std::optional<DraftedBy> drafter(const std::filesystem::path&, int depth) const override {
    return DraftedBy{drafter_section("model", depth), snapshot()};
  }

 private:
  Options options_;
  std::unique_ptr<DistillationLoss> loss_;
};

FORETELL_REGISTER(Learner, DistillLearner, "distill",
                  {.summary = "a draft model: cross-entropy and divergence from its target's distribution",
                   .paper = {"Zhou et al.", 2023, "2310.08461"},
                   .also_known_as = {"DistillSpec"}});

}  // namespace
}  // namespace foretell::training::learners
