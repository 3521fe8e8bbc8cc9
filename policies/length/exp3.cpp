// Draft lengths as arms against an adversary (Auer et al. 2002; for speculation Hou et al. 2025, "BanditSpec", arXiv
// 2505.15141: EXP3Spec).
//
// An arm is drawn with probability proportional to exp(-eta L), L the sum of its losses so far, each divided by the
// probability with which the arm was played: unbiased although only one arm is seen a round. A loss is 1 - speed /
// scale with the highest speed seen as scale, so it lies in [0, 1]; eta is sqrt(ln K / (K t)) after t rounds, which
// needs no length of the run to be known. Assumes nothing about speeds staying what they are, and pays for it: it
// settles far later than `ucb`.
#include <algorithm>
#include <cmath>

#include "framework/decoding/bases/bandit_policy.h"

namespace foretell::policies::length {
namespace {

class Exp3Policy final : public bases::BanditPolicy {
 public:
  using Options = bases::BanditOptions;
  Exp3Policy(const Options& options, const BuildContext& context) : bases::BanditPolicy(options, context) {}

 private:
  std::size_t choose(std::int64_t round) override {
    losses_.resize(depths().size());
    const auto arms = static_cast<double>(losses_.size());
    const double eta = std::sqrt(std::log(arms) / (arms * static_cast<double>(learned_ + 1)));
    const double least = *std::min_element(losses_.begin(), losses_.end());
    probabilities_.clear();
    double sum = 0;
    for (const double loss : losses_) sum += probabilities_.emplace_back(std::exp(-eta * (loss - least)));
    for (double& probability : probabilities_) probability /= sum;
    return rng(round).pick(probabilities_);
  }

  // A round that the limit decided was not drawn, so there is no probability to divide by.
  void learn(std::size_t arm, double tokens, double time, bool chosen) override {
    if (!chosen) return;
    const double speed = tokens / time;
    highest_ = std::max(highest_, speed);
    losses_[arm] += (1 - speed / highest_) / probabilities_[arm];
    ++learned_;
  }

  std::vector<double> losses_, probabilities_;
  double highest_ = 0;
  std::int64_t learned_ = 0;
};

FORETELL_REGISTER(
    DraftPolicy, Exp3Policy, "exp3",
    {.summary = "learns the best draft length, none included, whatever order speeds come in (exponential weights)",
     .stateful = true,
     .uses_wall_clock = true,
     .paper = {"Hou et al.", 2025, "2505.15141"},
     .also_known_as = {"EXP3Spec"}});

}  // namespace
}  // namespace foretell::policies::length
