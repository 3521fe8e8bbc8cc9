// A row leaves where its confidence reaches a threshold that falls along the answer (CALM, Schuster et al. 2022, arXiv
// 2207.07061, equation 5).
//
// threshold(t) = 0.9 lambda + 0.1 exp(-tau t / N), cut to [0, 1], at token t of an answer of at most N: an early error
// harms more of the text. `decay: code` multiplies the second term by lambda too, as the released code does.
// Confidence is the highest probability (softmax_max), its distance from the second (softmax_diff), or the cosine of
// the states at this layer and at the one asked before (state; none at the first). The first two cost the head over the
// vocabulary at every layer that is asked. Deviation: in a batch each row decides by itself; `synchronised` is the
// paper's batch. Lambda is what `foretell calibrate` is for in the paper's method.
#include <algorithm>
#include <cmath>

#include "framework/api/build_context.h"
#include "framework/exits/confidence_exit.h"

namespace foretell::policies::exit {
namespace {

struct CalmOptions {
  double threshold = 0.9, temperature = 4;
  std::string confidence = "softmax_max", decay = "paper";
  exits::ExitLayers layers;
  void declare(Parameters& p) {
    p.add("threshold", threshold, "lambda, the confidence that a row needs before it falls", {.min = 0, .max = 1});
    p.add("temperature", temperature, "tau, how fast it falls; 0: not at all",
          {.min = 0, .max = 1e3, .aliases = {"position_temp"}});
    p.add("confidence", confidence, "what is compared", {.choices = {"softmax_max", "softmax_diff", "state"}});
    p.add("decay", decay, "as in the paper, or as in its released code", {.choices = {"paper", "code"}});
    layers.declare(p);
  }
};

class CalmExit final : public exits::RowExit {
 public:
  using Options = CalmOptions;
  CalmExit(const Options& options, const BuildContext&)
      : exits::RowExit(options.layers), options_(options), by_state_(options.confidence == "state") {}

  ExitWants wants() const override { return {.logits = !by_state_, .states = by_state_}; }

 private:
  bool row_leaves(const ExitProbe& probe, std::size_t index) override {
    return confidence_of(probe, index) >= threshold_at(probe.rows[index]);
  }

  double confidence_of(const ExitProbe& probe, std::size_t index) const {
    if (by_state_)
      return probe.first ? 0 : exits::cosine(probe.of(probe.states, index), probe.of(probe.previous, index));
    const exits::LogitStatistics found = exits::logit_statistics(probe.of(probe.logits, index));
    return options_.confidence == "softmax_max" ? found.first : found.first - found.second;
  }

  double threshold_at(const ExitRow& row) const {
    const double share = static_cast<double>(row.generated) / std::max(row.max_new_tokens, 1);
    const double falling = 0.1 * std::exp(-options_.temperature * share);
    const double lambda = options_.threshold;
    return std::clamp(0.9 * lambda + falling * (options_.decay == "code" ? lambda : 1), 0.0, 1.0);
  }

  Options options_;
  bool by_state_;
};

FORETELL_REGISTER(ExitPolicy, CalmExit, "calm",
                  {.summary = "a row leaves at a confidence that falls along the answer",
                   .paper = {"Schuster et al.", 2022, "2207.07061"},
                   .also_known_as = {"Confident Adaptive Language Modeling"}});

}  // namespace
}  // namespace foretell::policies::exit
