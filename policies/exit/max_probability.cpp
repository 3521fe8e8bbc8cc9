// A row leaves where the most probable token of the head at that layer is probable enough (the measure softmax_max of
// CALM, Schuster et al. 2022, arXiv 2207.07061; EE-LLM, Chen et al. 2023, arXiv 2312.04916).
//
// Costs the head over the vocabulary at every layer that is asked. A threshold of 1 is never reached, as in EE-LLM: the
// full model.
#include "framework/api/build_context.h"
#include "framework/exits/confidence_exit.h"

namespace foretell::policies::exit {
namespace {

struct MaxProbabilityOptions {
  double threshold = 0.9;
  exits::ExitLayers layers;
  void declare(Parameters& p) {
    p.add("threshold", threshold, "probability of the most probable token; 0: always, 1: never", {.min = 0, .max = 1});
    layers.declare(p);
  }
};

class MaxProbabilityExit final : public exits::RowExit {
 public:
  using Options = MaxProbabilityOptions;
  MaxProbabilityExit(const Options& options, const BuildContext&)
      : exits::RowExit(options.layers), threshold_(options.threshold) {}

  ExitWants wants() const override { return {.logits = true}; }

 private:
  bool row_leaves(const ExitProbe& probe, std::size_t index) override {
    return threshold_ < 1 && exits::logit_statistics(probe.of(probe.logits, index)).first >= threshold_;
  }

  double threshold_;
};

FORETELL_REGISTER(ExitPolicy, MaxProbabilityExit, "max_probability",
                  {.summary = "a row leaves once its most probable token is probable enough",
                   .paper = {"Schuster et al.", 2022, "2207.07061"}});

}  // namespace
}  // namespace foretell::policies::exit
