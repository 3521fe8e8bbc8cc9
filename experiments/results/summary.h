// The numbers of one cell: a pure fold of its records.
//
// Contract: fold() depends on the records alone and not on their order. Acceptance is counted on the first repeat
// (repeats of the same seed give the same tokens); a request's time is the median over its repeats. Tokens per second
// are tokens / wall time, prefill included, as Spec-Bench counts them, and by the same rule for the method and the
// baseline; the speed-up is the ratio of the two on the same requests, its interval is over prompts
// (framework/metrics/statistics.h). Latencies are those of the method's first repeat.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "experiments/results/expert_json.h"
#include "experiments/results/record.h"
#include "framework/io/json_reader.h"
#include "framework/metrics/latency.h"
#include "framework/metrics/metrics.h"
#include "framework/metrics/statistics.h"

namespace foretell::results {

struct TaskSummary {
  int requests = 0;
  std::int64_t tokens = 0, rounds = 0, drafted = 0, accepted = 0;
  std::optional<double> mean_acceptance_length, mean_acceptance_length_per_request, draft_acceptance_rate;
  std::optional<double> accepted_per_round, drafted_per_round, scored_per_round, emitted_per_scored,
      undrafted_round_share, acceptance_per_trial;
  std::optional<metrics::WorkRates> work;  // of a target whose rows may leave early
  ExpertSummary experts;                   // of a target with a mixture of experts; else empty
  std::vector<double> acceptance_rate_per_position, conditional_acceptance_per_position;
  std::vector<std::int64_t> acceptance_histogram;
  std::map<int, std::vector<std::int64_t>> acceptance_histogram_by_depth;
  PhaseTimes phases;                                                           // ns, of the first repeat
  std::optional<double> tokens_per_second, decode_tokens_per_second, speedup;  // decode: without the prefill
  std::optional<double> baseline_tokens_per_second, baseline_decode_tokens_per_second;
  std::optional<double> decode_speedup;  // without the prefill on either side
  metrics::Estimate speedup_estimate;    // the speed-up once more, with its interval
  std::optional<double> speedup_noise;   // coefficient of variation over repeats
  std::optional<double> contention,
      baseline_contention;  // [1] of the time; medians over repeats, requests weighed by their time
  metrics::Judgement judgement;
  metrics::LatencySummary latency;
  std::optional<double> goodput;  // [requests/s] of those that met the targets that the study names
  std::optional<double> joules_per_token, baseline_joules_per_token;  // measured, or of the stated power
  std::optional<double> exact_match,
      baseline_exact_match;                // the shares of requests with the right answer, where the workload knows it
  std::optional<double> same_as_baseline;  // the share of requests whose tokens equal the baseline's
  // Where quality was measured (quality.h): mean ROUGE-L against the target's greedy text, the share of answers that
  // are that text, and the perplexity of a token under the target's unwarped distribution.
  std::optional<double> greedy_rouge_l, same_as_greedy, perplexity, baseline_perplexity;
};

struct FoldOptions {
  bool timed = true;         // false: the times mean nothing (a recorded answer), so none is reported
  bool sampled = false;      // tokens were drawn: the method's need not be the baseline's, so they are not compared
  bool is_baseline = false;  // the method is the baseline: its speed-up is 1 by definition
  bool drafts = false;       // it has a drafter, whose gain is what was accepted
  std::uint64_t seed = 1;    // of the resampling
  metrics::LatencyTargets targets = {};
  std::optional<double> stated_watts = {};  // stands in where no energy was measured
};

// What a summary keeps of the options, so that the same fold can be made of the records again. Nothing where it was
// made by another one.
nlohmann::ordered_json to_json(const FoldOptions& options);
std::optional<FoldOptions> fold_options_from(const io::OrderedJsonView& json);

// By task, and "overall".
using Summary = std::map<std::string, TaskSummary>;
Summary fold(std::span<const GenerationRecord> records, const FoldOptions& options);

// Tasks in the given order first, then the others, "overall" last.
nlohmann::ordered_json to_json(const Summary& summary, const std::vector<std::string>& order);

}  // namespace foretell::results
