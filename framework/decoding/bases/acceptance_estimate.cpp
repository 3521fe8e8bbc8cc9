#include "framework/decoding/bases/acceptance_estimate.h"

#include <algorithm>

namespace foretell::bases {

void AcceptanceOptions::declare(Parameters& p) {
  p.add("prior_acceptance", prior_rate, "acceptance that is assumed before anything was observed",
        {.min = 0, .max = 1});
  p.add("prior_weight", prior_weight, "observed tokens that this assumption counts for", {.min = 0.01, .max = 1e6});
  p.add("memory", memory, "weight of what was observed before at every new observation; 1 never forgets",
        {.min = 0.5, .max = 1});
}

void AcceptanceEstimate::observe(const RoundRecord& record) {
  const ObservedRun run = observed_run(record);
  for (int depth = 1; depth <= run.accepted; ++depth) count(depth, true);
  if (run.rejected) count(run.accepted + 1, false);
}

void AcceptanceEstimate::count(int depth, bool accepted) {
  const auto place = static_cast<std::size_t>(std::min(depth, kDepths) - 1);
  if (counts_.size() <= place) counts_.resize(place + 1);
  Counts& counts = counts_[place];
  counts.trials = options_.memory * counts.trials + 1;
  counts.accepted = options_.memory * counts.accepted + (accepted ? 1 : 0);
}

double AcceptanceEstimate::at(int depth) const {
  double rate = options_.prior_rate;
  for (int i = 1; i <= std::min(depth, kDepths); ++i) {
    const double prior = base_ ? base_->at(i) : rate;
    const auto place = static_cast<std::size_t>(i - 1);
    const Counts counts = place < counts_.size() ? counts_[place] : Counts{};
    rate = (counts.accepted + options_.prior_weight * prior) / (counts.trials + options_.prior_weight);
  }
  return rate;
}

std::vector<double> AcceptanceEstimate::reach(int depth) const {
  std::vector<double> out;
  double product = 1;
  for (int i = 1; i <= depth; ++i) out.push_back(product *= at(i));
  return out;
}

double AcceptanceEstimate::expected_emitted(int depth) const {
  double sum = 1;
  for (const double probability : reach(depth)) sum += probability;
  return sum;
}

}  // namespace foretell::bases
