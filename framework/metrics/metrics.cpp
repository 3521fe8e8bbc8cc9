#include "framework/metrics/metrics.h"

#include <algorithm>

namespace foretell {
namespace {

std::optional<double> ratio(double numerator, double denominator) {
  if (denominator == 0) return std::nullopt;
  return numerator / denominator;
}

template <class Field>
std::int64_t sum(Rounds rounds, Field field) {
  std::int64_t total = 0;
  for (const RoundRecord& round : rounds) total += field(round);
  return total;
}

int deepest(Rounds rounds) {
  int depth = 0;
  for (const RoundRecord& round : rounds) depth = std::max(depth, round.depth);
  return depth;
}

void count_into(std::vector<std::int64_t>& histogram, int accepted) {
  if (static_cast<int>(histogram.size()) <= accepted) histogram.resize(accepted + 1);
  ++histogram[accepted];
}

// (rounds that accepted at least i) / (rounds for which evaluated(round, i)), for i = 1 .. the deepest draft.
template <class Evaluated>
std::vector<double> per_position(Rounds rounds, Evaluated evaluated) {
  std::vector<double> rates;
  for (int i = 1; i <= deepest(rounds); ++i) {
    const auto accepted = sum(rounds, [i](const RoundRecord& r) { return r.accepted >= i; });
    const auto tried = sum(rounds, [&](const RoundRecord& r) { return evaluated(r, i); });
    if (tried == 0) break;
    rates.push_back(static_cast<double>(accepted) / static_cast<double>(tried));
  }
  return rates;
}

}  // namespace

std::int64_t emitted_tokens(Rounds rounds) {
  return sum(rounds, [](const RoundRecord& r) { return r.emitted; });
}
std::int64_t drafted_tokens(Rounds rounds) {
  return sum(rounds, [](const RoundRecord& r) { return r.drafted; });
}
std::int64_t accepted_tokens(Rounds rounds) {
  return sum(rounds, [](const RoundRecord& r) { return r.accepted; });
}

std::optional<double> mean_acceptance_length(Rounds rounds) {
  return ratio(static_cast<double>(emitted_tokens(rounds)), static_cast<double>(rounds.size()));
}

std::optional<double> mean_acceptance_length_per_request(std::span<const Rounds> requests) {
  double total = 0;
  int counted = 0;
  for (const Rounds rounds : requests) {
    if (const auto mean = mean_acceptance_length(rounds)) {
      total += *mean;
      ++counted;
    }
  }
  return ratio(total, counted);
}

std::optional<double> draft_acceptance_rate(Rounds rounds) {
  return ratio(static_cast<double>(accepted_tokens(rounds)), static_cast<double>(drafted_tokens(rounds)));
}

std::vector<double> acceptance_rate_per_position(Rounds rounds) {
  return per_position(rounds, [](const RoundRecord& r, int) { return r.drafted > 0; });
}

std::vector<double> conditional_acceptance_per_position(Rounds rounds) {
  return per_position(rounds, [](const RoundRecord& r, int i) { return r.accepted >= i - 1 && r.depth >= i; });
}

std::vector<std::int64_t> acceptance_histogram(Rounds rounds) {
  std::vector<std::int64_t> histogram;
  for (const RoundRecord& round : rounds) count_into(histogram, round.accepted);
  return histogram;
}

std::map<int, std::vector<std::int64_t>> acceptance_histogram_by_depth(Rounds rounds) {
  std::map<int, std::vector<std::int64_t>> histograms;
  for (const RoundRecord& round : rounds) count_into(histograms[round.depth], round.accepted);
  return histograms;
}

PhaseTimes phase_times(Rounds rounds) {
  PhaseTimes total;
  for (const RoundRecord& round : rounds) {
    total.draft += round.ns.draft;
    total.score += round.ns.score;
    total.verify += round.ns.verify;
    total.commit += round.ns.commit;
  }
  return total;
}

std::optional<double> median(std::vector<double> sample) {
  if (sample.empty()) return std::nullopt;
  std::sort(sample.begin(), sample.end());
  const std::size_t middle = sample.size() / 2;
  return sample.size() % 2 == 1 ? sample[middle] : (sample[middle - 1] + sample[middle]) / 2;
}

}  // namespace foretell
