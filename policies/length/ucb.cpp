// Draft lengths as arms, the most promising one played (Hou et al. 2025, "BanditSpec", arXiv 2505.15141: UCBSpec).
//
// The index of an arm is its speed and a radius, c sqrt(2 ln t) times the standard error of that speed; t counts rounds. An arm that was not played
// yet comes first. The released code divides by the calls of all arms together, which gives every arm the same radius and never explores: here each
// has its own, and from its own spread, since speeds are not bounded by 1. Older rounds fade by `memory`, for a workload that changes.
#include <cmath>

#include "framework/planning/bandit_policy.h"

namespace foretell {
namespace {

struct UcbOptions : BanditOptions {
  double exploration = 1.0;
  double memory = 0.999;
  void declare(Parameters& p) {
    BanditOptions::declare(p);
    p.add("exploration", exploration, "factor of the radius; 0 is greedy", {.min = 0, .max = 100});
    p.add("memory", memory, "weight of what was observed before at every new round; 1 never forgets", {.min = 0.9, .max = 1});
  }
};

class UcbPolicy final : public BanditPolicy {
 public:
  using Options = UcbOptions;
  UcbPolicy(const Options& options, const BuildContext& context) : BanditPolicy(options, context), options_(options) {}

 private:
  std::size_t choose(std::int64_t) override {
    arms_.resize(depths().size());
    double total = 0;
    for (const SpeedStatistics& arm : arms_) total += arm.rounds();
    std::size_t best = 0;
    double highest = -1;
    for (std::size_t i = 0; i < arms_.size(); ++i) {
      if (arms_[i].rounds() == 0) return i;
      const double index = arms_[i].speed() + options_.exploration * std::sqrt(2 * std::log(std::max(total, 1.0))) * arms_[i].error();
      if (index > highest) {
        highest = index;
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

FORETELL_REGISTER(DraftPolicy, UcbPolicy, "ucb",
                  {.summary = "learns the best draft length, none included, by upper confidence bounds on tokens per second",
                   .run_state = true,
                   .clock = true});

}  // namespace
}  // namespace foretell
