// The head of DFlash2 (z-lab, 2026) on a frozen target: DFlash with convolutions over a block, and a selector that
// learns to choose the answer among each slot's best candidates by the token before; where the answer is not among
// them, it takes the last one's place.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/dot.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/where.h>
#include <c10/core/GradMode.h>

#include "framework/core/error.h"
#include "framework/training/learners/block_learner.h"

namespace foretell::training::learners {
namespace {

constexpr std::int64_t kSelectedAtOnce = 1024;

struct DFlash2Options {
  BlockLearnerOptions block;
  int conv_group = 16, conv_kernel = 2, rank = 64, top_k = 16;
  double selector = 1.0;
  void declare(Parameters& p) {
    block.declare(p);
    p.add("conv_group_size", conv_group, "elements of a state that share a kernel", {.min = 1, .max = 1 << 16});
    p.add("conv_kernel_size", conv_kernel, "slots that a convolution sees", {.min = 1, .max = 64});
    p.add("selector_rank", rank, "of the scores of pairs", {.min = 1, .max = 1 << 16});
    p.add("selector_top_k", top_k, "candidates of a slot", {.min = 2, .max = 1 << 16});
    p.add("selector", selector, "weight of the selector's cross-entropy",
          {.min = 0.0, .aliases = {"selector_loss_alpha"}});
  }
};

class DFlash2Learner final : public BlockLearner {
 public:
  using Options = DFlash2Options;
  DFlash2Learner(Options options, const BuildContext&) : BlockLearner(options.block), options_(std::move(options)) {}

 private:
  const char* name() const override { return "dflash2"; }
  void shape(model::heads::BlockConfig& config) const override {
    if (config.layers.hidden_size % options_.conv_group != 0)
      fail_at(options_.block.target.where, "conv_group_size: {} does not divide the target's hidden size of {}",
              options_.conv_group, config.layers.hidden_size);
    config.conv_group = options_.conv_group;
    config.conv_kernel = options_.conv_kernel;
    config.selector_rank = options_.rank;
    config.selector_top_k = options_.top_k;
  }

  at::Tensor more_loss(const autograd::TrainBatch&, const Levels& levels,
                       std::vector<autograd::LossTerm>& terms) const override {
    at::Tensor total;
    for (std::int64_t first = 0; first < levels.state.size(0); first += kSelectedAtOnce) {
      const auto part = [&](const at::Tensor& of) {
        return of.narrow(0, first, std::min(kSelectedAtOnce, levels.state.size(0) - first));
      };
      const at::Tensor own = selection(part(levels.state), part(levels.previous), part(levels.targets));
      const at::Tensor sum = at::dot(own, part(levels.weights));
      total = total.defined() ? total + sum : sum;
    }
    if (!total.defined()) return {};
    terms.push_back({"loss.selector", total.detach()});
    return total * options_.selector;
  }

  // The cross-entropy of each row's answer among its candidates. The candidates' own logits are the other loss's.
  at::Tensor selection(const at::Tensor& states, const at::Tensor& previous, const at::Tensor& targets) const {
    at::Tensor value, candidates, place;
    {
      const c10::NoGradGuard no_grad;
      const at::Tensor logits = at::linear(states, output_matrix());
      const std::int64_t count = std::min<std::int64_t>(options_.top_k, logits.size(1));
      candidates = std::get<1>(logits.topk(count));
      const at::Tensor gold = targets.unsqueeze(1);
      const at::Tensor missing = candidates.eq(gold).any(1).logical_not().unsqueeze(1);
      candidates = at::cat(
          {candidates.narrow(1, 0, count - 1), at::where(missing, gold, candidates.narrow(1, count - 1, 1))}, 1);
      value = logits.gather(1, candidates);
      place = candidates.eq(gold).to(at::kLong).argmax(1, true);
    }
    const at::Tensor hidden = at::linear(states, weight("candidate_selector.hidden_projection.weight"));
    const at::Tensor before = weight("candidate_selector.predecessor_codebook").index_select(0, previous);
    const at::Tensor pairs = weight("candidate_selector.successor_codebook")
                                 .index_select(0, candidates.view({-1}))
                                 .view({candidates.size(0), candidates.size(1), -1});
    const at::Tensor scores = value + (pairs * (before * hidden).unsqueeze(1)).sum(-1);
    return at::log_softmax(scores, -1).gather(1, place).view({-1}).neg();
  }

  Options options_;
};

FORETELL_REGISTER(Learner, DFlash2Learner, "dflash2",
                  {.summary = "DFlash2's block of masks with its selector on a frozen target"});

}  // namespace
}  // namespace foretell::training::learners
