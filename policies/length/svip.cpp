// Stops where the draft's distribution is too flat to be agreed with (Zhang et al. 2024, "SVIP", arXiv 2411.18462).
//
// The acceptance of a token is bounded from below by its distribution's entropy H in nats: 1 - sqrt(c H). The draft
// ends before a token with sqrt(c H) > threshold.
//
// Deviations: the released code looks after drawing and keeps that last token; here the question is asked before, which
// saves a forward and a row that are likely lost (min_tokens: 1 keeps the first token in any case). Its entropy is that
// of the untempered distribution; here it is that of the distribution that the token would be drawn from, and at
// temperature 0 of that at temperature 1. Drafters that have no distributions are never stopped.
#include <cmath>

#include "framework/api/policy.h"

namespace foretell::policies::length {
namespace {

struct SvipOptions {
  double factor = 0.15;
  double threshold = 0.3;
  int min_tokens = 0;
  void declare(Parameters& p) {
    p.add("entropy_factor", factor, "c in sqrt(c H)", {.min = 0, .max = 100});
    p.add("threshold", threshold, "the draft ends where sqrt(c H) is higher", {.min = 0, .max = 100, .aliases = {"h"}});
    p.add("min_tokens", min_tokens, "drafted whatever the entropy", {.min = 0, .max = 4096});
  }
};

class SvipPolicy final : public DraftPolicy {
 public:
  using Options = SvipOptions;
  SvipPolicy(const Options& options, const BuildContext&) : options_(options) {}
  void plan(std::span<const PolicyView>, std::span<DraftBudget>) override {}
  bool wants_probs() const override { return true; }
  bool should_continue(const DraftStep& step) override {
    return !step.distribution || step.depth <= options_.min_tokens ||
           std::sqrt(options_.factor * step.distribution->entropy()) <= options_.threshold;
  }

 private:
  Options options_;
};

FORETELL_REGISTER(DraftPolicy, SvipPolicy, "svip",
                  {.summary = "ends the draft where the entropy of the draft's distribution is high",
                   .paper = {"Zhang et al.", 2024, "2411.18462"}});

}  // namespace
}  // namespace foretell::policies::length
