// A row leaves where its hidden state has stopped turning (the hidden-state saturation of CALM, Schuster et al. 2022,
// arXiv 2207.07061, section 3.5).
//
// Looks at the cosine of the states at this layer and at the one asked before, and needs no head. At the first layer
// that is asked there is nothing to compare with and no row leaves. A threshold of 1 is never reached: the full model.
#include "framework/api/build_context.h"
#include "framework/exits/confidence_exit.h"

namespace foretell::policies::exit {
namespace {

struct HiddenSimilarityOptions {
  double threshold = 0.95;
  exits::ExitLayers layers;
  void declare(Parameters& p) {
    p.add("threshold", threshold, "cosine of the hidden states of two layers that are asked; 1: never",
          {.min = -1, .max = 1});
    layers.declare(p);
  }
};

class HiddenSimilarityExit final : public exits::RowExit {
 public:
  using Options = HiddenSimilarityOptions;
  HiddenSimilarityExit(const Options& options, const BuildContext&)
      : exits::RowExit(options.layers), threshold_(options.threshold) {}

  ExitWants wants() const override { return {.states = true}; }

 private:
  bool row_leaves(const ExitProbe& probe, std::size_t index) override {
    return !probe.first && threshold_ < 1 &&
           exits::cosine(probe.of(probe.states, index), probe.of(probe.previous, index)) >= threshold_;
  }

  double threshold_;
};

FORETELL_REGISTER(ExitPolicy, HiddenSimilarityExit, "hidden_similarity",
                  {.summary = "a row leaves once its hidden state hardly changes",
                   .paper = {"Schuster et al.", 2022, "2207.07061"},
                   .also_known_as = {"hidden-state saturation"}});

}  // namespace
}  // namespace foretell::policies::exit
