// The head of DSpark (DeepSeek-AI, 2026) on a frozen target: DFlash's block with a Markov head, learned by
// cross-entropy and by the L1 distance of the distributions (twice the total variation distance), and a confidence head
// that learns how much of the target's distribution the draft's covers.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/binary_cross_entropy_with_logits.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/dot.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/min.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/softmax.h>
#include <c10/core/GradMode.h>

#include "framework/training/learners/block_learner.h"
#include "framework/training/learners/heads.h"

namespace foretell::training::learners {
namespace {

constexpr std::int64_t kCoveredAtOnce = 1024;

BlockLearnerOptions published_options() {
  BlockLearnerOptions options;
  options.block_size = 7;
  options.mix = {.ce = 0.1, .kl = 0, .tvd = 1.8};
  return options;
}

struct DSparkOptions {
  BlockLearnerOptions block = published_options();
  int rank = 64;
  std::string markov = "vanilla";
  double confidence = 1.0;
  void declare(Parameters& p) {
    block.declare(p);
    p.add("markov_rank", rank, "of the bias that the token before adds", {.min = 1, .max = 1 << 16});
    p.add("markov_head_type", markov, "what the bias knows: the token before, the slot's state too, or the whole path",
          {.choices = {"vanilla", "gated", "rnn"}});
    p.add("confidence", confidence, "weight of the confidence head's loss", {.min = 0.0});
  }
};

class DSparkLearner final : public BlockLearner {
 public:
  using Options = DSparkOptions;
  DSparkLearner(Options options, const BuildContext&) : BlockLearner(options.block), options_(std::move(options)) {}

 private:
  const char* name() const override { return "dspark"; }
  void shape(model::heads::BlockConfig& config) const override {
    using enum model::heads::MarkovKind;
    config.markov = options_.markov == "gated" ? Gated : options_.markov == "rnn" ? Rnn : Vanilla;
    config.markov_rank = options_.rank;
    config.confidence = config.confidence_reads_markov = true;
    config.from_anchor = true;
  }

  at::Tensor more_loss(const autograd::TrainBatch& batch, const Levels& levels,
                       std::vector<autograd::LossTerm>& terms) const override {
    const at::Tensor token = weight("markov_head.markov_w1.weight").index_select(0, levels.previous);
    const at::Tensor said = at::linear(at::cat({levels.state, token}, 1), weight("confidence_head.proj.weight"),
                                       weight("confidence_head.proj.bias"))
                                .view({-1});
    const at::Tensor own =
        at::binary_cross_entropy_with_logits(said, covered(batch, levels), {}, {}, at::Reduction::None);
    const at::Tensor total = at::dot(own, levels.weights);
    terms.push_back({"loss.confidence", total.detach()});
    return total * options_.confidence;
  }

  // The chance that a token of the draft's distribution is accepted: the sum of the smaller probabilities.
  at::Tensor covered(const autograd::TrainBatch& batch, const Levels& levels) const {
    const c10::NoGradGuard no_grad;
    const at::Tensor matrix = output_matrix(), states = output_states(levels);
    const at::Tensor target = matrix.narrow(1, 0, levels.state.size(1));
    std::vector<at::Tensor> out;
    for (std::int64_t first = 0; first < states.size(0); first += kCoveredAtOnce) {
      const std::int64_t count = std::min(kCoveredAtOnce, states.size(0) - first);
      const at::Tensor rows = batch.target.final_state.index_select(0, levels.teacher.narrow(0, first, count));
      out.push_back(at::minimum(at::softmax(at::linear(rows, target), -1),
                                at::softmax(at::linear(states.narrow(0, first, count), matrix), -1))
                        .sum(-1));
    }
    return at::cat(out);
  }

  Options options_;
};

FORETELL_REGISTER(Learner, DSparkLearner, "dspark",
                  {.summary = "DSpark's block with Markov and confidence heads on a frozen target"});

}  // namespace
}  // namespace foretell::training::learners
