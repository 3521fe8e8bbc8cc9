// When the tokens of a request came: time to first token, time per output token, gaps, and requests that were in time.
//
// Contract: pure functions of the moments at which tokens became visible. Times are ns since the request was made. What
// would divide by zero is absent, never 0. Tokens of one round become visible together, when the round is committed; so
// speculation makes streams bursty, and a gap is counted in one of two ways. Per token: a round of m tokens gives its
// own gap once and m - 1 zeros; the mean is that of a smooth stream, the p50 is often 0. Per round: how long nothing
// came, which is what a reader sees.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "framework/api/round.h"
#include "framework/metrics/statistics.h"

namespace foretell::metrics {

// Tokens that became visible at one moment.
struct Emission {
  std::int64_t ns = 0;
  int tokens = 0;
};

// In order of time. Emissions without a token do not count.
using Emissions = std::span<const Emission>;

// What a request of its own shows: rounds follow the prefill without a pause. Not for batches, where a round's times
// are its share of the batch's.
std::vector<Emission> emissions_of(std::int64_t prefill_ns, std::span<const RoundRecord> rounds);

// [ns] until the first tokens came: the prefill and the first round.
std::optional<double> time_to_first_token(Emissions request);
// [ns] until the last ones came.
std::optional<double> end_to_end_latency(Emissions request);
// [ns / token] (end to end - time to first token) / (tokens - 1). Tokens that came with the first one are divided by
// and cost no time here, which flatters long rounds and short answers. Absent for fewer than two tokens; 0 where one
// round gave all.
std::optional<double> time_per_output_token(Emissions request);
// [ns] one for each token but the first: 0 where it came together with the one before.
std::vector<double> gaps_per_token(Emissions request);
// [ns] one for each emission but the first.
std::vector<double> gaps_per_round(Emissions request);

// Over requests; gaps of all requests in one sample.
struct LatencySummary {
  std::optional<Percentiles> time_to_first_token, time_per_output_token, gap_per_token, gap_per_round, end_to_end;
  std::optional<double> mean_time_to_first_token, mean_time_per_output_token, mean_gap_per_token, mean_gap_per_round,
      mean_end_to_end;
};
LatencySummary latency_summary(std::span<const std::vector<Emission>> requests);

// The longest times that are still good; what is absent is not asked for.
struct LatencyTargets {
  std::optional<double> time_to_first_token_ns = {}, time_per_output_token_ns = {}, end_to_end_ns = {};
};
// A request without a token misses every target; one with a single token has no time per output token to miss.
bool meets(Emissions request, const LatencyTargets& targets);
// [requests / s] that met all targets, of a run that took `run_ns`. Absent if that is not positive.
std::optional<double> goodput(std::span<const std::vector<Emission>> requests, const LatencyTargets& targets,
                              double run_ns);

}  // namespace foretell::metrics
