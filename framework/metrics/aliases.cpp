#include "framework/metrics/aliases.h"

#include <algorithm>
#include <iterator>

namespace foretell::metrics {
namespace {

constexpr std::string_view kVllm = "vLLM", kLlama = "llama.cpp", kSglang = "SGLang", kSpecBench = "Spec-Bench",
                           kAiperf = "AIPerf";

constexpr std::string_view kOnlyDrafting = "over rounds with a draft only";
constexpr std::string_view kPercent = "in percent";

constexpr MetricAlias kAliases[] = {
    {"mean_acceptance_length", kVllm, "mean_acceptance_length",
     "1 + accepted / rounds with a draft; the last round always counts the target's own token"},
    {"mean_acceptance_length", kLlama, "mean acceptance length", "as vLLM"},
    {"mean_acceptance_length", kSglang, "spec_accept_length", "completion tokens / verifying forwards"},
    {"mean_acceptance_length", kSpecBench, "#Mean accepted tokens", ""},
    {"mean_acceptance_length", kAiperf, "Token-Weighted Acceptance Length", "as vLLM"},
    {"mean_acceptance_length_per_request", kAiperf, "Acceptance Length", "the average; as vLLM within a request"},
    {"draft_acceptance_rate", kVllm, "draft_acceptance_rate",
     "its log line is in percent; drafts that a grammar ruled out are not counted"},
    {"draft_acceptance_rate", kLlama, "draft acceptance rate", ""},
    {"draft_acceptance_rate", kSglang, "spec_accept_rate", ""},
    {"draft_acceptance_rate", kAiperf, "Overall Draft Acceptance Rate", kPercent},
    {"draft_acceptance_rate_per_request", kAiperf, "Draft Acceptance Rate", kPercent},
    {"acceptance_rate_per_position", kVllm, "Per-position acceptance rate", ""},
    {"acceptance_histogram", kVllm, "acceptance_histogram", kOnlyDrafting},
    {"acceptance_histogram", kAiperf, "pooled_spec_decode_acceptance_histogram", kOnlyDrafting},
    {"acceptance_histogram_by_depth", kVllm, "acceptance_histogram_by_draft_length",
     "by drafted tokens: the same for chains"},
    {"rounds", kVllm, "num_spec_steps", kOnlyDrafting},
    {"rounds", kSglang, "spec_verify_ct", ""},
    {"rounds", kSpecBench, "decoding_steps", "one number a turn"},
    {"rounds", kAiperf, "Spec Decode Steps", "of a request; over rounds with a draft only"},
    {"drafted", kVllm, "num_draft_tokens", "drafts that a grammar ruled out are not counted"},
    {"drafted", kLlama, "draft_n", ""},
    {"accepted", kVllm, "num_accepted_draft_tokens", ""},
    {"accepted", kLlama, "draft_n_accepted", ""},
    {"tokens", kSpecBench, "new_tokens", "one number a turn; the baseline's are counted from its text instead"},
    {"emitted_per_scored", kAiperf, "Accepted per Verified",
     "the mean over requests of (accepted + 1) / (drafted + 1)"},
    {"tokens_per_second", kSpecBench, "Tokens per second",
     "the mean over questions of tokens / time, not total tokens / total time"},
    {"speedup", kSpecBench, "Speedup ratio", "the ratio of two such means"},
    {"time_to_first_token", kVllm, "TTFT", "in ms; at a client, network and queue included"},
    {"time_to_first_token", kAiperf, "time_to_first_token", "in ms; at a client, network and queue included"},
    {"time_per_output_token", kVllm, "TPOT", "in ms"},
    {"time_per_output_token", kAiperf, "inter_token_latency", "in ms; by name a gap, by formula this"},
    {"gap_per_round", kVllm, "ITL", "in ms; a gap for each chunk that was streamed"},
    {"gap_per_round", kAiperf, "inter_chunk_latency", "in ms"},
    {"end_to_end_latency", kVllm, "E2EL", "in ms; at a client"},
    {"end_to_end_latency", kAiperf, "request_latency", "in ms; at a client"},
    {"goodput", kVllm, "request_goodput", ""},
    {"goodput", kAiperf, "goodput", ""},
    {"joules_per_token", kAiperf, "Energy per Output Token", "of GPUs"},
};

template <class Matches>
std::vector<MetricAlias> rows_that(Matches matches) {
  std::vector<MetricAlias> rows;
  std::copy_if(std::begin(kAliases), std::end(kAliases), std::back_inserter(rows), matches);
  return rows;
}

}  // namespace

std::span<const MetricAlias> metric_aliases() { return kAliases; }

std::vector<MetricAlias> aliases_of_metric(std::string_view metric) {
  return rows_that([&](const MetricAlias& alias) { return alias.metric == metric; });
}

std::vector<MetricAlias> aliases_in(std::string_view tool) {
  return rows_that([&](const MetricAlias& alias) { return alias.tool == tool; });
}

}  // namespace foretell::metrics
