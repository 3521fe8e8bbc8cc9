// DSpark (DeepSeek-AI, 2026): DFlash whose slots are corrected by the token before: a Markov head adds a bias of low
// rank to a slot's logits (`vanilla`: of that token; `gated`: weighed by the slot's state; `rnn`: of the whole path),
// so tokens follow each other at the cost of a small product a level. A confidence head says how likely each is to be
// accepted: with `min_confidence` a draft ends where the product of a path is below it.
#include "framework/decoding/heads/block_drafter.h"

namespace foretell::drafters::heads {
namespace {

struct DSparkOptions {
  decoding::heads::BlockDrafterOptions block;
  double min_confidence = 0;
  std::string markov = "vanilla";
  void declare(Parameters& p) {
    block.declare(p);
    p.add("min_confidence", min_confidence,
          "nothing is drafted behind a path whose product of confidences is below this; 0: all is drafted",
          {.min = 0.0, .max = 1.0});
    p.add("markov_head_type", markov, "of a random head", {.choices = {"vanilla", "gated", "rnn"}});
  }
  model::heads::MarkovKind kind() const {
    using enum model::heads::MarkovKind;
    return markov == "gated" ? Gated : markov == "rnn" ? Rnn : Vanilla;
  }
};

class DSparkDrafter final : public decoding::heads::BlockDrafter {
 public:
  using Options = DSparkOptions;
  DSparkDrafter(const Options& options, const BuildContext& context)
      : decoding::heads::BlockDrafter(options.block, context, decoding::heads::BlockKind::Markov,
                                      options.min_confidence, options.kind()) {}
};

FORETELL_REGISTER(Drafter, DSparkDrafter, "dspark",
                  {.summary = "a block in one forward, corrected token by token, with confidences",
                   .taxonomy = {.focus = "model-centric",
                                .ryu2024 = "dependent draft model",
                                .xia2024 = "self-drafting: FFN heads"}});

}  // namespace
}  // namespace foretell::drafters::heads
