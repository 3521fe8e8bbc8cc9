#include "experiments/report/aliases.h"

#include <array>

#include "experiments/report/report_files.h"

namespace foretell {
namespace {

constexpr auto kReportAliases = std::to_array<ReportAlias>({
    {"mean_acceptance_length", "vLLM", "mean acceptance length", "rounds without a draft are left out there"},
    {"mean_acceptance_length", "llama.cpp", "mean acceptance length", ""},
    {"mean_acceptance_length", "SGLang", "spec_accept_length", ""},
    {"mean_acceptance_length", "Spec-Bench", "#Mean Accepted Tokens", "pooled over rounds, the target's own token included"},
    {"mean_acceptance_length_per_request", "AIPerf", "acceptance length, request average", ""},
    {"draft_acceptance_rate", "vLLM", "draft acceptance rate", ""},
    {"draft_acceptance_rate", "SGLang", "spec_accept_rate", ""},
    {"acceptance_rate_at_1", "vLLM", "per-position acceptance rate", "unconditional, as ours; at_2 and so on alike"},
    {"conditional_acceptance_at_1", "specdec_bench", "conditional acceptance rate", ""},
    {"drafted", "vLLM", "num_draft_tokens", ""},
    {"accepted", "vLLM", "num_accepted_tokens", ""},
    {"rounds", "Spec-Bench", "decoding_steps", ""},
    {"tokens", "Spec-Bench", "new_tokens", ""},
    {"tokens_per_second", "Spec-Bench", "Tokens per second", "there the mean of every question's speed; ours is all tokens over all time"},
    {"speedup", "Spec-Bench", "Speedup ratio", "there the ratio of those means"},
    {"ttft_ms_p50", "vLLM", "Median TTFT (ms)", ""},
    {"tpot_ms_p50", "vLLM", "Median TPOT (ms)", "excludes the first token"},
    {"itl_ms_p50", "vLLM", "Median ITL (ms)", "there a gap between chunks, which hold several tokens: round_gap_ms_p50 is that"},
});

}  // namespace

std::span<const ReportAlias> report_aliases() { return kReportAliases; }

std::string aliases_csv() {
  std::string out = "measure,tool,their_name,note\n";
  for (const ReportAlias& alias : kReportAliases)
    out += csv_field(alias.measure) + "," + csv_field(alias.tool) + "," + csv_field(alias.their_name) + "," + csv_field(alias.note) + "\n";
  return out;
}

}  // namespace foretell
