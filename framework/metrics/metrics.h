// What the rounds of a run say: one metric a function, each a pure fold over round records.
//
// Contract: functions of plain records, without state. A metric that would divide by zero (no round, nothing drafted)
// is absent, never 0. Two means exist over rounds and they differ: "pooled" weighs every round alike, "per request"
// weighs every request alike. Both are named. Rounds that a stop token or a length limit cut short count what they
// emitted. Positions count from 1: position i is the i-th drafted depth.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "framework/api/round.h"

namespace foretell::metrics {

using Rounds = std::span<const RoundRecord>;

// [tokens] sum of emitted over all rounds.
std::int64_t emitted_tokens(Rounds rounds);
// [tokens] sum of drafted over all rounds.
std::int64_t drafted_tokens(Rounds rounds);
// [tokens] sum of accepted over all rounds.
std::int64_t accepted_tokens(Rounds rounds);
// [rows] sum of scored over all rounds: the drafted tokens that the target looked at, and the anchors.
std::int64_t scored_rows(Rounds rounds);

// [tokens / round] emitted / rounds, pooled. The target's own token counts: 1.0 is plain decoding.
std::optional<double> mean_acceptance_length(Rounds rounds);
// [tokens / round] the mean over requests of emitted / rounds; requests without a round are left out.
std::optional<double> mean_acceptance_length_per_request(std::span<const Rounds> requests);

// [1] accepted / drafted, pooled. For a tree, drafted counts all proposed nodes.
std::optional<double> draft_acceptance_rate(Rounds rounds);
// [1] the mean over requests of accepted / drafted; requests that drafted nothing are left out.
std::optional<double> draft_acceptance_rate_per_request(std::span<const Rounds> requests);

// [tokens / round], [rows / round], [tokens / round]: means over all rounds, those that drafted nothing included. Rows
// are what the target scored.
std::optional<double> accepted_per_round(Rounds rounds);
std::optional<double> scored_per_round(Rounds rounds);
std::optional<double> drafted_per_round(Rounds rounds);
// [tokens / row] emitted / scored, pooled: how much of the target's work became output. 1.0 is plain decoding, and the
// most that there can be.
std::optional<double> emitted_per_scored(Rounds rounds);
// [1] the share of rounds that drafted nothing.
std::optional<double> undrafted_round_share(Rounds rounds);
// What a target computed whose rows may leave early, over the rounds that say it (StepWork); none if no round does. A
// row is one that was scored.
struct WorkRates {
  double layers_per_row = 0, experts_per_row = 0, attended_per_row = 0;
  double left_early_share = 0;  // of rows
  double recomputed_per_row = 0, probes_per_row = 0;
};
std::optional<WorkRates> work_rates(Rounds rounds);

// [1] entry i - 1 is (rounds that accepted at least i) / (rounds that drafted anything): unconditional, as vLLM and
// llama.cpp define it.
std::vector<double> acceptance_rate_per_position(Rounds rounds);
// [1] entry i - 1 is (rounds that accepted at least i) / (rounds in which position i was decided: accepted, or the
// first to be rejected). A draft that ended before position i, or whose request ended, did not decide it.
std::vector<double> conditional_acceptance_per_position(Rounds rounds);
// [1] accepted / (accepted + first rejections): one probability for all positions, the maximum likelihood if they were
// alike and independent.
std::optional<double> acceptance_per_trial(Rounds rounds);

// [rounds] entry i - 1 is what the two above divide: how many rounds a rate rests on.
struct PositionCounts {
  std::int64_t accepted = 0;   // rounds that accepted at least i
  std::int64_t drafting = 0;   // rounds that drafted anything
  std::int64_t evaluated = 0;  // rounds in which position i was decided
  friend bool operator==(const PositionCounts&, const PositionCounts&) = default;
};
std::vector<PositionCounts> position_counts(Rounds rounds);

// [rounds] entry j counts the rounds that accepted exactly j.
std::vector<std::int64_t> acceptance_histogram(Rounds rounds);
// [rounds] the same, apart for each depth of the draft.
std::map<int, std::vector<std::int64_t>> acceptance_histogram_by_depth(Rounds rounds);

// [ns] the sum over all rounds, phase by phase.
PhaseTimes phase_times(Rounds rounds);
// [ns / round] the same as means.
struct MeanPhaseTimes {
  double draft = 0, score = 0, verify = 0, commit = 0;
  double total() const { return draft + score + verify + commit; }
};
std::optional<MeanPhaseTimes> phase_times_per_round(Rounds rounds);

// The middle value; the mean of the two middle ones where their number is even. Absent for an empty sample.
std::optional<double> median(std::vector<double> sample);

}  // namespace foretell::metrics
