// Draft lengths as arms, each played with the probability that it is the best one (Thompson 1933; Russo et al. 2018,
// arXiv 1707.02038).
//
// What is believed of an arm's speed is normal, around the observed speed with its standard error; before anything was
// observed, around that of plain decoding. A round draws a speed for every arm and plays the highest. Older rounds fade
// by `memory`, for a workload that changes.
#include <cmath>
#include <numbers>

#include "framework/decoding/bases/bandit_policy.h"

namespace foretell::policies::length {
namespace {

// Box and Muller 1958.
double normal_number(PhiloxRng& rng) {
  const double radius = std::sqrt(-2 * std::log(1 - rng.uniform()));
  return radius * std::cos(2 * std::numbers::pi * rng.uniform());
}

class ThompsonPolicy final : public bases::SpeedBandit {
 public:
  using Options = bases::SpeedBanditOptions;
  ThompsonPolicy(const Options& options, const BuildContext& context) : bases::SpeedBandit(options, context) {}

 private:
  double index(const bases::SpeedStatistics& arm, double, PhiloxRng& random) const override {
    const bool known = arm.rounds() > 0;
    return (known ? arm.speed() : 1.0) + (known ? arm.error() : 1.0) * normal_number(random);
  }
};

FORETELL_REGISTER(
    DraftPolicy, ThompsonPolicy, "thompson",
    {.summary = "learns the best draft length, none included, by drawing from what it believes of tokens per second",
     .stateful = true,
     .uses_wall_clock = true,
     .paper = {"Thompson", 1933},
     .also_known_as = {"Thompson sampling"}});

}  // namespace
}  // namespace foretell::policies::length
