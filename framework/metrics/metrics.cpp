#include "framework/metrics/metrics.h"

#include <algorithm>

#include "framework/metrics/statistics.h"

namespace foretell::metrics {
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

// One count over another, position by position, up to the first position that no round reached.
std::vector<double> rates(Rounds rounds, std::int64_t PositionCounts::*tried) {
  std::vector<double> out;
  for (const PositionCounts& position : position_counts(rounds)) {
    if (position.*tried == 0) break;
    out.push_back(static_cast<double>(position.accepted) / static_cast<double>(position.*tried));
  }
  return out;
}

// [unit / round] the mean of a count over all rounds.
std::optional<double> per_round(std::int64_t total, Rounds rounds) {
  return ratio(static_cast<double>(total), static_cast<double>(rounds.size()));
}

// The mean of a metric over the requests that have it.
template <class Metric>
std::optional<double> mean_over_requests(std::span<const Rounds> requests, Metric metric) {
  double total = 0;
  int counted = 0;
  for (const Rounds rounds : requests) {
    if (const std::optional<double> value = metric(rounds)) {
      total += *value;
      ++counted;
    }
  }
  return ratio(total, counted);
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
std::int64_t scored_rows(Rounds rounds) {
  return sum(rounds, [](const RoundRecord& r) { return r.scored; });
}

std::optional<double> mean_acceptance_length(Rounds rounds) { return per_round(emitted_tokens(rounds), rounds); }

std::optional<double> mean_acceptance_length_per_request(std::span<const Rounds> requests) {
  return mean_over_requests(requests, mean_acceptance_length);
}

std::optional<double> draft_acceptance_rate(Rounds rounds) {
  return ratio(static_cast<double>(accepted_tokens(rounds)), static_cast<double>(drafted_tokens(rounds)));
}

std::optional<double> draft_acceptance_rate_per_request(std::span<const Rounds> requests) {
  return mean_over_requests(requests, draft_acceptance_rate);
}

std::optional<double> accepted_per_round(Rounds rounds) { return per_round(accepted_tokens(rounds), rounds); }
std::optional<double> scored_per_round(Rounds rounds) { return per_round(scored_rows(rounds), rounds); }
std::optional<double> drafted_per_round(Rounds rounds) { return per_round(drafted_tokens(rounds), rounds); }

std::optional<double> emitted_per_scored(Rounds rounds) {
  return ratio(static_cast<double>(emitted_tokens(rounds)), static_cast<double>(scored_rows(rounds)));
}

std::optional<WorkRates> work_rates(Rounds rounds) {
  WorkRates sums;
  double rows = 0;
  for (const RoundRecord& round : rounds) {
    if (!round.work) continue;
    rows += round.scored;
    sums.layers_per_row += static_cast<double>(round.work->layers);
    sums.experts_per_row += static_cast<double>(round.work->experts);
    sums.attended_per_row += static_cast<double>(round.work->attended);
    sums.left_early_share += round.work->left_early;
    sums.recomputed_per_row += round.work->recomputed;
    sums.probes_per_row += round.work->probes;
  }
  if (rows == 0) return std::nullopt;
  for (double* sum : {&sums.layers_per_row, &sums.experts_per_row, &sums.attended_per_row, &sums.left_early_share,
                      &sums.recomputed_per_row, &sums.probes_per_row})
    *sum /= rows;
  return sums;
}

std::optional<double> undrafted_round_share(Rounds rounds) {
  return per_round(sum(rounds, [](const RoundRecord& r) { return r.drafted == 0; }), rounds);
}

std::vector<double> acceptance_rate_per_position(Rounds rounds) { return rates(rounds, &PositionCounts::drafting); }
std::vector<double> conditional_acceptance_per_position(Rounds rounds) {
  return rates(rounds, &PositionCounts::evaluated);
}

std::optional<double> acceptance_per_trial(Rounds rounds) {
  const auto trials = sum(rounds, [](const RoundRecord& r) { return r.accepted + (observed_run(r).rejected ? 1 : 0); });
  return ratio(static_cast<double>(accepted_tokens(rounds)), static_cast<double>(trials));
}

std::vector<PositionCounts> position_counts(Rounds rounds) {
  std::vector<PositionCounts> counts(deepest(rounds));
  const auto drafting = sum(rounds, [](const RoundRecord& r) { return r.drafted > 0; });
  for (int i = 1; i <= static_cast<int>(counts.size()); ++i) {
    counts[i - 1].accepted = sum(rounds, [i](const RoundRecord& r) { return r.accepted >= i; });
    counts[i - 1].drafting = drafting;
    counts[i - 1].evaluated = sum(rounds, [i](const RoundRecord& r) {
      const ObservedRun run = observed_run(r);
      return run.accepted + (run.rejected ? 1 : 0) >= i;
    });
  }
  return counts;
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

std::optional<MeanPhaseTimes> phase_times_per_round(Rounds rounds) {
  if (rounds.empty()) return std::nullopt;
  const PhaseTimes total = phase_times(rounds);
  const auto mean = [&](std::int64_t ns) { return static_cast<double>(ns) / static_cast<double>(rounds.size()); };
  return MeanPhaseTimes{mean(total.draft), mean(total.score), mean(total.verify), mean(total.commit)};
}

std::optional<double> median(std::vector<double> sample) { return percentile(std::move(sample), 0.5); }

}  // namespace foretell::metrics
