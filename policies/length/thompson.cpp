// Draft lengths as arms, each played with the probability that it is the best one (Thompson 1933; Russo et al. 2018, arXiv 1707.02038).
//
// What is believed of an arm's speed is normal, around the observed speed with its standard error; before anything was observed, around that of plain
// decoding. A round draws a speed for every arm and plays the highest. Older rounds fade by `memory`, for a workload that changes.
#include <cmath>

#include "framework/planning/bandit_policy.h"

namespace foretell {
namespace {

struct ThompsonOptions : BanditOptions {
  double memory = 0.999;
  void declare(Parameters& p) {
    BanditOptions::declare(p);
    p.add("memory", memory, "weight of what was observed before at every new round; 1 never forgets", {.min = 0.9, .max = 1});
  }
};

// Box and Muller 1958.
double normal_number(PhiloxRng& rng) {
  const double radius = std::sqrt(-2 * std::log(1 - rng.uniform()));
  return radius * std::cos(2 * 3.141592653589793 * rng.uniform());
}

class ThompsonPolicy final : public BanditPolicy {
 public:
  using Options = ThompsonOptions;
  ThompsonPolicy(const Options& options, const BuildContext& context) : BanditPolicy(options, context), options_(options) {}

 private:
  std::size_t choose(std::int64_t round) override {
    arms_.resize(depths().size());
    PhiloxRng random = rng(round);
    std::size_t best = 0;
    double highest = -1e300;
    for (std::size_t i = 0; i < arms_.size(); ++i) {
      const bool known = arms_[i].rounds() > 0;
      const double drawn = (known ? arms_[i].speed() : 1.0) + (known ? arms_[i].error() : 1.0) * normal_number(random);
      if (drawn > highest) {
        highest = drawn;
        best = i;
      }
    }
    return best;
  }

  void learn(std::size_t played, double tokens, double time, bool) override {
    arms_.resize(depths().size());
    for (SpeedStatistics& arm : arms_) arm.fade(options_.memory);
    arms_[played].add(tokens, time);
  }

  Options options_;
  std::vector<SpeedStatistics> arms_;
};

FORETELL_REGISTER(DraftPolicy, ThompsonPolicy, "thompson",
                  {.summary = "learns the best draft length, none included, by drawing from what it believes of tokens per second",
                   .run_state = true,
                   .clock = true});

}  // namespace
}  // namespace foretell
