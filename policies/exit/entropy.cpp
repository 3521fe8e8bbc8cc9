// A row leaves where the distribution of the head at that layer has little entropy (DeeBERT, Xin et al. 2020, arXiv
// 2004.12993).
//
// Costs the head over the vocabulary at every layer that is asked. An entropy is never below 0, so a threshold of 0 is
// the full model. The maximum is subtracted before exponentials are taken, which some released code leaves out.
#include <cmath>

#include "framework/api/build_context.h"
#include "framework/exits/confidence_exit.h"

namespace foretell::policies::exit {
namespace {

struct EntropyOptions {
  double threshold = 0.5;
  bool normalised = false;
  exits::ExitLayers layers;
  void declare(Parameters& p) {
    p.add("threshold", threshold, "entropy below which a row leaves; 0: never", {.min = 0, .max = 100});
    p.add("normalised", normalised, "divide the entropy by that of the uniform distribution; else it is in nats");
    layers.declare(p);
  }
};

class EntropyExit final : public exits::RowExit {
 public:
  using Options = EntropyOptions;
  EntropyExit(const Options& options, const BuildContext&) : exits::RowExit(options.layers), options_(options) {}

  ExitWants wants() const override { return {.logits = true}; }

 private:
  bool row_leaves(const ExitProbe& probe, std::size_t index) override {
    const std::span<const float> logits = probe.of(probe.logits, index);
    const double most = options_.normalised ? std::log(static_cast<double>(logits.size())) : 1.0;
    return exits::logit_statistics(logits).entropy < options_.threshold * most;
  }

  Options options_;
};

FORETELL_REGISTER(ExitPolicy, EntropyExit, "entropy",
                  {.summary = "a row leaves once the entropy at that layer is low enough",
                   .paper = {"Xin et al.", 2020, "2004.12993"},
                   .also_known_as = {"DeeBERT"}});

}  // namespace
}  // namespace foretell::policies::exit
