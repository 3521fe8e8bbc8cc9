// A row leaves at a probability that is the lower, the deeper it has come (LITE, Varshney et al. 2023, arXiv
// 2310.18581: thresholds for each layer).
//
// The threshold for the most probable token falls in equal steps from `first` at the first layer that is asked to
// `last` at the last one. Deviation: the paper sets each layer's by hand. Costs the head over the vocabulary at every
// layer that is asked; 1 is never reached.
#include <algorithm>

#include "framework/api/build_context.h"
#include "framework/exits/confidence_exit.h"

namespace foretell::policies::exit {
namespace {

struct LiteOptions {
  double first = 0.95, last = 0.5;
  exits::ExitLayers layers;
  void declare(Parameters& p) {
    p.add("first", first, "probability of a row's token at the first layer that is asked; 1: never",
          {.min = 0, .max = 1});
    p.add("last", last, "at the last one", {.min = 0, .max = 1});
    layers.declare(p);
  }
};

class LiteExit final : public exits::RowExit {
 public:
  using Options = LiteOptions;
  LiteExit(const Options& options, const BuildContext&) : exits::RowExit(options.layers), options_(options) {}

  std::vector<int> layers(int num_layers) const override { return asked_ = exits::RowExit::layers(num_layers); }
  ExitWants wants() const override { return {.logits = true}; }

 private:
  bool row_leaves(const ExitProbe& probe, std::size_t index) override {
    const auto steps = static_cast<double>(std::max<std::ptrdiff_t>(std::ssize(asked_) - 1, 1));
    const auto step = std::lower_bound(asked_.begin(), asked_.end(), probe.layer) - asked_.begin();
    const double share = static_cast<double>(step) / steps;
    const double threshold = options_.first + (options_.last - options_.first) * share;
    return threshold < 1 && exits::logit_statistics(probe.of(probe.logits, index)).first >= threshold;
  }

  Options options_;
  mutable std::vector<int> asked_;  // of the model that layers() was last asked about
};

FORETELL_REGISTER(ExitPolicy, LiteExit, "lite",
                  {.summary = "a row leaves at a probability that is the lower, the deeper it has come",
                   .paper = {"Varshney et al.", 2023, "2310.18581"}});

}  // namespace
}  // namespace foretell::policies::exit
