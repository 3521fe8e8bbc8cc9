// How likely the token at a depth is accepted, given that the one before it was: estimated from rounds.
//
// A rejection ends a round, so what lies behind it is not observed: depth i counts in the rounds in which depth i - 1
// was accepted and depth i was drafted (a censored estimate). Counting every drafted token instead would call deep
// positions far worse than they are.
//
// Contract: estimates are a(i) = (accepted(i) + w a(i - 1)) / (trials(i) + w), a(0) the prior: what is not known yet is
// taken from the depth before it. Every trial multiplies the older ones of its depth by `memory`, so old rounds fade.
// Depths beyond kDepths share the last place.
#pragma once

#include <vector>

#include "framework/api/round.h"
#include "framework/core/parameters.h"

namespace foretell::bases {

struct AcceptanceOptions {
  double prior_rate = 0.7;
  double prior_weight = 2.0;
  double memory = 0.98;
  void declare(Parameters& p);
};

class AcceptanceEstimate {
 public:
  static constexpr int kDepths = 64;

  // `base`: what stands for the prior, such as the estimate of the whole run behind that of one sequence; it outlives
  // this.
  explicit AcceptanceEstimate(const AcceptanceOptions& options = {}, const AcceptanceEstimate* base = nullptr)
      : options_(options), base_(base) {}

  void observe(const RoundRecord& record);
  double at(int depth) const;
  // 1 + the sum over i up to `depth` of the product of a(1) .. a(i): tokens of a round that drafts a chain of that
  // depth.
  double expected_emitted(int depth) const;
  // a(1), a(1) a(2), ...: the probability that each depth is reached and accepted.
  std::vector<double> reach(int depth) const;

 private:
  struct Counts {
    double accepted = 0, trials = 0;
  };
  void count(int depth, bool accepted);

  AcceptanceOptions options_;
  const AcceptanceEstimate* base_;
  std::vector<Counts> counts_;  // by depth - 1
};

}  // namespace foretell::bases
