// Draft lengths as arms, the most promising one played (Hou et al. 2025, "BanditSpec", arXiv 2505.15141: UCBSpec).
//
// The index of an arm is its speed and a radius, c sqrt(2 ln t) times the standard error of that speed; t counts
// rounds. An arm that was not played yet comes first. The released code divides by the calls of all arms together,
// which gives every arm the same radius and never explores: here each has its own, and from its own spread, since
// speeds are not bounded by 1. Older rounds fade by `memory`, for a workload that changes.
#include <algorithm>
#include <cmath>
#include <limits>

#include "framework/decoding/bases/bandit_policy.h"

namespace foretell::policies::length {
namespace {

struct UcbOptions : bases::SpeedBanditOptions {
  double exploration = 1.0;
  void declare(Parameters& p) {
    bases::SpeedBanditOptions::declare(p);
    p.add("exploration", exploration, "factor of the radius; 0 is greedy", {.min = 0, .max = 100});
  }
};

class UcbPolicy final : public bases::SpeedBandit {
 public:
  using Options = UcbOptions;
  UcbPolicy(const Options& options, const BuildContext& context)
      : bases::SpeedBandit(options, context), exploration_(options.exploration) {}

 private:
  double index(const bases::SpeedStatistics& arm, double total, PhiloxRng&) const override {
    if (arm.rounds() == 0) return std::numeric_limits<double>::infinity();
    return arm.speed() + exploration_ * std::sqrt(2 * std::log(std::max(total, 1.0))) * arm.error();
  }

  double exploration_;
};

FORETELL_REGISTER(
    DraftPolicy, UcbPolicy, "ucb",
    {.summary = "learns the best draft length, none included, by upper confidence bounds on tokens per second",
     .stateful = true,
     .uses_wall_clock = true,
     .paper = {"Hou et al.", 2025, "2505.15141"},
     .also_known_as = {"UCBSpec", "BanditSpec"}});

}  // namespace
}  // namespace foretell::policies::length
