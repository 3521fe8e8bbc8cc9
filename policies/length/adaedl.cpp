// An entropy bound with a threshold that follows the acceptance (Agrawal et al. 2024, "AdaEDL", arXiv 2410.18351).
//
// The draft ends before a token with 1 - sqrt(c H) < lambda, H the entropy of its distribution in nats. After a round
// that drafted:
//   rate   <- b1 rate + (1 - b1) accepted / drafted
//   lambda <- b2 lambda + (1 - b2) (lambda + step  if rate < target rate, else lambda - step)
// so a draft that is accepted too rarely becomes shorter. Every sequence has a lambda of its own, in [0, 1].
//
// Deviations: the constants of the two updates are parameters. Depth counts as drafted, so that the siblings of a tree
// are no failures. A draft with nothing in it teaches nothing: while lambda forbids the first token it is pulled down
// by the same step each round, until one is drafted again.
#include <algorithm>
#include <cmath>

#include "framework/decoding/bases/sequence_states.h"

namespace foretell::policies::length {
namespace {

struct AdaEdlOptions {
  double factor = 0.2;
  double start = 0.4;
  double target_rate = 0.9;
  double step = 0.01;
  double rate_memory = 0.5;
  double threshold_memory = 0.9;
  void declare(Parameters& p) {
    p.add("entropy_factor", factor, "c in 1 - sqrt(c H)", {.min = 0, .max = 100});
    p.add("threshold", start, "lambda of a new sequence", {.min = 0, .max = 1});
    p.add("target_acceptance_rate", target_rate, "lambda rises below, falls above", {.min = 0, .max = 1});
    p.add("step", step, "by which lambda is pulled", {.min = 0, .max = 1});
    p.add("rate_memory", rate_memory, "b1: weight of the rate so far", {.min = 0, .max = 1});
    p.add("threshold_memory", threshold_memory, "b2: weight of lambda so far", {.min = 0, .max = 1});
  }
};

class AdaEdlPolicy final : public DraftPolicy {
 public:
  using Options = AdaEdlOptions;
  AdaEdlPolicy(const Options& options, const BuildContext&) : options_(options) {}

  void plan(std::span<const PolicyView> batch, std::span<DraftBudget>) override {
    sequences_.begin_round(batch, [this] { return Bound{options_.start, options_.target_rate}; });
  }
  bool wants_probs() const override { return true; }
  bool should_continue(const DraftStep& step) override {
    return !step.distribution ||
           1 - std::sqrt(options_.factor * step.distribution->entropy()) >= sequences_.at(step.slot).lambda;
  }
  void observe(std::span<const RoundRecord> records) override {
    for (std::size_t i = 0; i < records.size(); ++i) adapt(*sequences_.round()[i], records[i]);
  }

 private:
  struct Bound {
    double lambda, rate;
  };

  void adapt(Bound& bound, const RoundRecord& record) const {
    if (record.depth > 0)
      bound.rate = options_.rate_memory * bound.rate + (1 - options_.rate_memory) * record.accepted / record.depth;
    const bool longer = record.depth == 0 || bound.rate >= options_.target_rate;
    const double pulled = bound.lambda + (longer ? -options_.step : options_.step);
    bound.lambda =
        std::clamp(options_.threshold_memory * bound.lambda + (1 - options_.threshold_memory) * pulled, 0.0, 1.0);
  }

  Options options_;
  bases::SequenceStates<Bound> sequences_;
};

FORETELL_REGISTER(DraftPolicy, AdaEdlPolicy, "adaedl",
                  {.summary = "ends the draft where the entropy of the draft's distribution is high, by a threshold "
                              "that follows the acceptance",
                   .paper = {"Agrawal et al.", 2024, "2410.18351"}});

}  // namespace
}  // namespace foretell::policies::length
