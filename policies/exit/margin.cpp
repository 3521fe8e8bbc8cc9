// A row leaves where the two most probable tokens of the head at that layer are far enough apart (the softmax response
// of CALM, Schuster et al. 2022, arXiv 2207.07061, section 3.5).
//
// Costs the head over the vocabulary at every layer that is asked. A threshold of 1 is never reached: the full model.
#include "framework/api/build_context.h"
#include "framework/exits/confidence_exit.h"

namespace foretell::policies::exit {
namespace {

struct MarginOptions {
  double threshold = 0.9;
  exits::ExitLayers layers;
  void declare(Parameters& p) {
    p.add("threshold", threshold, "difference of the two highest probabilities; 0: always, 1: never",
          {.min = 0, .max = 1});
    layers.declare(p);
  }
};

class MarginExit final : public exits::RowExit {
 public:
  using Options = MarginOptions;
  MarginExit(const Options& options, const BuildContext&)
      : exits::RowExit(options.layers), threshold_(options.threshold) {}

  ExitWants wants() const override { return {.logits = true}; }

 private:
  bool row_leaves(const ExitProbe& probe, std::size_t index) override {
    const exits::LogitStatistics found = exits::logit_statistics(probe.of(probe.logits, index));
    return threshold_ < 1 && found.first - found.second >= threshold_;
  }

  double threshold_;
};

FORETELL_REGISTER(ExitPolicy, MarginExit, "margin",
                  {.summary = "a row leaves once its most probable token is far enough ahead",
                   .paper = {"Schuster et al.", 2022, "2207.07061"},
                   .also_known_as = {"softmax response", "top-2 gap"}});

}  // namespace
}  // namespace foretell::policies::exit
