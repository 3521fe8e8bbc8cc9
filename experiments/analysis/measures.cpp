#include "experiments/analysis/measures.h"

#include <array>

#include "framework/core/error.h"

namespace foretell::analysis {
namespace {

using enum NumberFormat;
using enum InTable;

constexpr auto kTaskMeasures = std::to_array<Measure>({
    {"requests", "/requests", "requests", Count, Always},
    {"tokens", "/tokens", "tokens", Count, Always},
    {"rounds", "/rounds", "rounds", Count, Never},
    {"drafted", "/drafted", "drafted", Count, Never},
    {"accepted", "/accepted", "accepted", Count, Never},
    {"mean_acceptance_length", "/mean_acceptance_length", "mean acc. length", ThreeDigits, Always},
    {"mean_acceptance_length_per_request", "/mean_acceptance_length_per_request", "per request", ThreeDigits, Always},
    {"draft_acceptance_rate", "/draft_acceptance_rate", "draft acc. rate", Share, Always},
    {"accepted_per_round", "/accepted_per_round", "accepted/round", ThreeDigits, Never},
    {"drafted_per_round", "/drafted_per_round", "drafted/round", ThreeDigits, Never},
    {"scored_per_round", "/scored_per_round", "scored/round", ThreeDigits, Never},
    {"emitted_per_scored", "/emitted_per_scored", "emitted/scored row", ThreeDigits, Never},
    {"undrafted_round_share", "/undrafted_round_share", "rounds without a draft", Share, Never},
    {"acceptance_per_trial", "/acceptance_per_trial", "acc. per trial", Share, Never},
    {"layers_per_row", "/work/layers_per_row", "layers/row", ThreeDigits, IfAny},
    {"left_early_share", "/work/left_early_share", "left early", Share, IfAny},
    {"recomputed_per_row", "/work/recomputed_per_row", "recomputed/row", ThreeDigits, Never},
    {"attended_per_row", "/work/attended_per_row", "attended/row", OneDigit, Never},
    {"experts_per_row", "/work/experts_per_row", "experts/row", ThreeDigits, Never},
    {"probes_per_row", "/work/probes_per_row", "probes/row", ThreeDigits, Never},
    {"experts_touched", "/experts/touched_per_round", "experts/round", OneDigit, IfAny},
    {"experts_uniform", "/experts/uniform_per_round", "if uniform", OneDigit, IfAny},
    {"experts_together", "/experts/together_per_round", "experts/forward", OneDigit, Never},
    {"expert_locality", "/experts/locality", "touched/uniform", ThreeDigits, Never},
    {"rows_per_expert", "/experts/rows_per_expert", "rows/expert", ThreeDigits, Never},
    {"expert_neighbour_share", "/experts/neighbour_share", "experts shared with parent", Share, Never},
    {"expert_dropped_share", "/experts/dropped_share", "rows without an expert", Share, Never},
    {"expert_max_violation", "/experts/max_violation", "MaxVio", ThreeDigits, IfAny},
    {"expert_round_max_violation", "/experts/round_max_violation", "MaxVio of a round", ThreeDigits, Never},
    {"expert_variation", "/experts/variation", "CV of load", ThreeDigits, Never},
    {"expert_entropy", "/experts/entropy", "load entropy", ThreeDigits, Never},
    {"experts_dead", "/experts/dead", "dead experts", Count, Never},
    {"tokens_per_second", "/tokens_per_second", "tokens/s", OneDigit, Always},
    {"decode_tokens_per_second", "/decode_tokens_per_second", "decode tokens/s", OneDigit, Never},
    {"baseline_tokens_per_second", "/baseline_tokens_per_second", "baseline tokens/s", OneDigit, Never},
    {"speedup", "/speedup", "speed-up", Ratio, Always},
    {"decode_speedup", "/decode_speedup", "decode speed-up", Ratio, Never},
    {"speedup_interval_low", "/speedup_interval/0", "speed-up, low", Ratio, Never},
    {"speedup_interval_high", "/speedup_interval/1", "speed-up, high", Ratio, Never},
    {"speedup_confidence", "/speedup_confidence", "confidence", RoundShare, Never},
    {"speedup_noise", "/speedup_noise", "noise", Share, IfAny},
    {"contention", "/contention", "waited for processors", Share, Never},
    {"baseline_contention", "/baseline_contention", "baseline waited", Share, Never},
    {"same_as_baseline", "/same_as_baseline", "same tokens", RoundShare, Always},
    {"exact_match", "/exact_match", "exact match", Share, IfAny},
    {"baseline_exact_match", "/baseline_exact_match", "baseline exact match", Share, Never},
    {"same_as_greedy", "/same_as_greedy", "same as greedy", RoundShare, IfAny},
    {"greedy_rouge_l", "/greedy_rouge_l", "ROUGE-L to greedy", ThreeDigits, IfAny},
    {"perplexity", "/perplexity", "perplexity", ThreeDigits, IfAny},
    {"baseline_perplexity", "/baseline_perplexity", "baseline perplexity", ThreeDigits, IfAny},
    {"ttft_ms_p50", "/latency/ttft_ms/p50", "TTFT p50 [ms]", OneDigit, IfAny},
    {"ttft_ms_p90", "/latency/ttft_ms/p90", "TTFT p90 [ms]", OneDigit, Never},
    {"ttft_ms_p99", "/latency/ttft_ms/p99", "TTFT p99 [ms]", OneDigit, Never},
    {"ttft_ms_mean", "/latency/ttft_ms/mean", "TTFT mean [ms]", OneDigit, Never},
    {"tpot_ms_p50", "/latency/tpot_ms/p50", "TPOT p50 [ms]", ThreeDigits, IfAny},
    {"tpot_ms_p90", "/latency/tpot_ms/p90", "TPOT p90 [ms]", ThreeDigits, Never},
    {"tpot_ms_p99", "/latency/tpot_ms/p99", "TPOT p99 [ms]", ThreeDigits, Never},
    {"tpot_ms_mean", "/latency/tpot_ms/mean", "TPOT mean [ms]", ThreeDigits, Never},
    {"itl_ms_p50", "/latency/itl_ms/p50", "ITL p50 [ms]", ThreeDigits, Never},
    {"itl_ms_p90", "/latency/itl_ms/p90", "ITL p90 [ms]", ThreeDigits, Never},
    {"itl_ms_p99", "/latency/itl_ms/p99", "ITL p99 [ms]", ThreeDigits, Never},
    {"itl_ms_mean", "/latency/itl_ms/mean", "ITL mean [ms]", ThreeDigits, Never},
    {"round_gap_ms_p50", "/latency/round_gap_ms/p50", "round gap p50 [ms]", ThreeDigits, Never},
    {"round_gap_ms_p90", "/latency/round_gap_ms/p90", "round gap p90 [ms]", ThreeDigits, Never},
    {"round_gap_ms_p99", "/latency/round_gap_ms/p99", "round gap p99 [ms]", ThreeDigits, Never},
    {"round_gap_ms_mean", "/latency/round_gap_ms/mean", "round gap mean [ms]", ThreeDigits, Never},
    {"e2e_ms_p50", "/latency/e2e_ms/p50", "E2E p50 [ms]", OneDigit, Never},
    {"e2e_ms_p90", "/latency/e2e_ms/p90", "E2E p90 [ms]", OneDigit, Never},
    {"e2e_ms_p99", "/latency/e2e_ms/p99", "E2E p99 [ms]", OneDigit, Never},
    {"e2e_ms_mean", "/latency/e2e_ms/mean", "E2E mean [ms]", OneDigit, Never},
    {"goodput_per_second", "/goodput_per_second", "goodput [1/s]", ThreeDigits, IfAny},
    {"joules_per_token", "/joules_per_token", "J/token", ThreeDigits, IfAny},
    {"baseline_joules_per_token", "/baseline_joules_per_token", "baseline J/token", ThreeDigits, Never},
    {"draft_ms", "/phase_ms/draft", "draft [ms]", OneDigit, Never},
    {"score_ms", "/phase_ms/score", "score [ms]", OneDigit, Never},
    {"verify_ms", "/phase_ms/verify", "verify [ms]", OneDigit, Never},
    {"commit_ms", "/phase_ms/commit", "commit [ms]", OneDigit, Never},
});

constexpr auto kCellMeasures = std::to_array<Measure>({
    {"predicted_speedup_iid", "/predicted/iid", "predicted, iid", Ratio, Always},
    {"predicted_speedup_position_wise", "/predicted/position_wise", "by position", Ratio, Always},
    {"predicted_speedup_oracle", "/predicted/oracle", "oracle", Ratio, Always},
    {"acceptance", "/predicted/acceptance", "acceptance", ThreeDigits, Always},
    {"break_even_acceptance", "/predicted/break_even_acceptance", "break-even", ThreeDigits, Always},
    {"score_cost", "/predicted/score_cost", "score [plain tokens]", ThreeDigits, IfAny},
    {"draft_cost", "/predicted/draft_cost", "draft [plain tokens]", ThreeDigits, IfAny},
    {"other_cost", "/predicted/other_cost", "other [plain tokens]", ThreeDigits, IfAny},
    {"rows_per_forward", "/predicted/rows", "rows", OneDigit, IfAny},
    {"draft_depth", "/predicted/depth", "depth", OneDigit, IfAny},
    {"overlap_acceptance_on_text", "/overlap/expected_acceptance_on_text", "acceptance, text predicts", ThreeDigits,
     IfAny},
    {"overlap_acceptance_on_output", "/overlap/expected_acceptance_on_output", "output predicts", ThreeDigits, IfAny},
    {"overlap_mean_acceptance_length_on_text", "/overlap/mean_acceptance_length_on_text", "length, text predicts",
     ThreeDigits, IfAny},
    {"overlap_mean_acceptance_length_on_output", "/overlap/mean_acceptance_length_on_output", "output predicts",
     ThreeDigits, IfAny},
    {"operations_per_token", "/operations_per_token", "operations/token", Short, IfAny},
    {"bytes_per_token", "/bytes_per_token", "bytes/token", Short, IfAny},
    {"memory_weights_bytes", "/memory/weights", "weights [B]", Short, IfAny},
    {"memory_caches_bytes", "/memory/caches", "caches [B]", Short, IfAny},
    {"memory_process_bytes", "/memory/process", "process [B]", Short, IfAny},
});

std::size_t place_of(std::span<const Measure> measures, std::string_view name) {
  for (std::size_t i = 0; i < measures.size(); ++i)
    if (measures[i].name == name) return i;
  FORETELL_CHECK(false, "no measure {}", name);
  return 0;
}

}  // namespace

std::span<const Measure> task_measures() { return kTaskMeasures; }
std::span<const Measure> cell_measures() { return kCellMeasures; }
std::size_t task_measure(std::string_view name) { return place_of(kTaskMeasures, name); }
std::size_t cell_measure(std::string_view name) { return place_of(kCellMeasures, name); }

const char* name_of(NumberFormat format) {
  switch (format) {
    case Count: return "count";
    case OneDigit: return "one_digit";
    case ThreeDigits: return "three_digits";
    case Ratio: return "ratio";
    case Share: return "share";
    case RoundShare: return "round_share";
    case Short: return "short";
  }
  return "";
}

const char* name_of(InTable in_table) {
  switch (in_table) {
    case Always: return "always";
    case IfAny: return "if_any";
    case Never: return "never";
  }
  return "";
}

std::string formatted(const std::optional<double>& value, NumberFormat format) {
  if (!value) return "-";
  switch (format) {
    case Count: return fmt::format("{:.0f}", *value);
    case OneDigit: return fmt::format("{:.1f}", *value);
    case ThreeDigits: return fmt::format("{:.3f}", *value);
    case Ratio: return fmt::format("{:.2f}x", *value);
    case Share: return fmt::format("{:.1f}%", 100 * *value);
    case RoundShare: return fmt::format("{:.0f}%", 100 * *value);
    case Short: return fmt::format("{:.3g}", *value);
  }
  return "-";
}

}  // namespace foretell::analysis
