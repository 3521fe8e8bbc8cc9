#include "experiments/summary.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "framework/metrics/metrics.h"

namespace foretell {
namespace {

using RequestKey = std::tuple<std::string, int>;  // conversation, turn

struct RequestRuns {
  std::map<int, const GenerationRecord*> by_repeat;

  const GenerationRecord& first() const { return *by_repeat.begin()->second; }
  double median_ns(bool with_prefill) const {
    std::vector<double> times;
    for (const auto& [repeat, record] : by_repeat)
      times.push_back(static_cast<double>(record->wall_ns - (with_prefill ? 0 : record->prefill_ns)));
    return *median(std::move(times));
  }
};

using Requests = std::map<RequestKey, RequestRuns>;

Requests requests_of(std::span<const GenerationRecord> records, Arm arm, const std::string& task) {
  Requests requests;
  for (const GenerationRecord& record : records)
    if (record.arm == arm && (task == "overall" || record.task == task))
      requests[{record.conversation, record.turn}].by_repeat[record.repeat] = &record;
  return requests;
}

// [tokens / s] over the requests that are in `also` as well, if that is given.
std::optional<double> speed(const Requests& requests, bool with_prefill, const Requests* also = nullptr) {
  double tokens = 0, ns = 0;
  for (const auto& [key, runs] : requests) {
    if (also && !also->count(key)) continue;
    tokens += static_cast<double>(runs.first().tokens.size());
    ns += runs.median_ns(with_prefill);
  }
  if (ns <= 0) return std::nullopt;
  return tokens / (ns * 1e-9);
}

std::optional<double> same_tokens(const Requests& method, const Requests& baseline) {
  int same = 0, compared = 0;
  for (const auto& [key, runs] : method) {
    const auto other = baseline.find(key);
    if (other == baseline.end()) continue;
    ++compared;
    same += runs.first().tokens == other->second.first().tokens;
  }
  if (compared == 0) return std::nullopt;
  return static_cast<double>(same) / compared;
}

std::optional<double> exact_share(const Requests& requests) {
  int exact = 0, known = 0;
  for (const auto& [key, runs] : requests) {
    if (!runs.first().exact) continue;
    ++known;
    exact += *runs.first().exact;
  }
  if (known == 0) return std::nullopt;
  return static_cast<double>(exact) / known;
}

// exp(- log probability a token).
std::optional<double> perplexity(const Requests& requests) {
  double log_probability = 0, tokens = 0;
  for (const auto& [key, runs] : requests) {
    if (!runs.first().quality) continue;
    log_probability += runs.first().quality->log_probability;
    tokens += static_cast<double>(runs.first().tokens.size());
  }
  if (tokens == 0) return std::nullopt;
  return std::exp(-log_probability / tokens);
}

void fold_quality(const Requests& method, const Requests& baseline, TaskSummary& out) {
  double rouge = 0, same = 0, known = 0;
  for (const auto& [key, runs] : method) {
    const std::optional<AnswerQuality>& quality = runs.first().quality;
    if (!quality) continue;
    ++known;
    rouge += quality->greedy_rouge_l;
    same += quality->same_as_greedy ? 1 : 0;
  }
  if (known > 0) {
    out.greedy_rouge_l = rouge / known;
    out.same_as_greedy = same / known;
  }
  out.perplexity = perplexity(method);
  out.baseline_perplexity = perplexity(baseline);
}

void fold_acceptance(const Requests& requests, TaskSummary& out) {
  std::vector<RoundRecord> pooled;
  std::vector<Rounds> apart;
  for (const auto& [key, runs] : requests) {
    const GenerationRecord& record = runs.first();
    pooled.insert(pooled.end(), record.rounds.begin(), record.rounds.end());
    apart.emplace_back(record.rounds);
    out.tokens += static_cast<std::int64_t>(record.tokens.size());
  }
  out.requests = static_cast<int>(requests.size());
  out.rounds = static_cast<std::int64_t>(pooled.size());
  out.drafted = drafted_tokens(pooled);
  out.accepted = accepted_tokens(pooled);
  out.mean_acceptance_length = mean_acceptance_length(pooled);
  out.mean_acceptance_length_per_request = mean_acceptance_length_per_request(apart);
  out.draft_acceptance_rate = draft_acceptance_rate(pooled);
  out.acceptance_rate_per_position = acceptance_rate_per_position(pooled);
  out.conditional_acceptance_per_position = conditional_acceptance_per_position(pooled);
  out.acceptance_histogram = acceptance_histogram(pooled);
  out.phases = phase_times(pooled);
}

void fold_speed(const Requests& method, const Requests& baseline, bool is_baseline, TaskSummary& out) {
  out.tokens_per_second = speed(method, true);
  out.decode_tokens_per_second = speed(method, false);
  if (is_baseline) {
    out.speedup = 1.0;
    return;
  }
  out.baseline_tokens_per_second = speed(baseline, true);
  out.baseline_decode_tokens_per_second = speed(baseline, false);
  const auto paired = speed(method, true, &baseline), against = speed(baseline, true, &method);
  if (paired && against) out.speedup = *paired / *against;
}

nlohmann::ordered_json number(const std::optional<double>& value) { return value ? nlohmann::ordered_json(*value) : nullptr; }

nlohmann::ordered_json to_json(const TaskSummary& s) {
  const auto ms = [](std::int64_t ns) { return static_cast<double>(ns) * 1e-6; };
  return {
      {"mean_acceptance_length", number(s.mean_acceptance_length)},
      {"mean_acceptance_length_per_request", number(s.mean_acceptance_length_per_request)},
      {"draft_acceptance_rate", number(s.draft_acceptance_rate)},
      {"tokens", s.tokens},
      {"rounds", s.rounds},
      {"tokens_per_second", number(s.tokens_per_second)},
      {"speedup", number(s.speedup)},
      {"requests", s.requests},
      {"drafted", s.drafted},
      {"accepted", s.accepted},
      {"decode_tokens_per_second", number(s.decode_tokens_per_second)},
      {"baseline_tokens_per_second", number(s.baseline_tokens_per_second)},
      {"exact_match", number(s.exact_match)},
      {"baseline_exact_match", number(s.baseline_exact_match)},
      {"same_as_baseline", number(s.same_as_baseline)},
      {"greedy_rouge_l", number(s.greedy_rouge_l)},
      {"same_as_greedy", number(s.same_as_greedy)},
      {"perplexity", number(s.perplexity)},
      {"baseline_perplexity", number(s.baseline_perplexity)},
      {"acceptance_rate_per_position", s.acceptance_rate_per_position},
      {"conditional_acceptance_per_position", s.conditional_acceptance_per_position},
      {"acceptance_histogram", s.acceptance_histogram},
      {"phase_ms",
       {{"draft", ms(s.phases.draft)}, {"score", ms(s.phases.score)}, {"verify", ms(s.phases.verify)}, {"commit", ms(s.phases.commit)}}}};
}

}  // namespace

Summary fold(std::span<const GenerationRecord> records, const FoldOptions& options) {
  std::set<std::string> tasks = {"overall"};
  for (const GenerationRecord& record : records) tasks.insert(record.task);
  Summary summary;
  for (const std::string& task : tasks) {
    const Requests method = requests_of(records, Arm::Method, task), baseline = requests_of(records, Arm::Baseline, task);
    TaskSummary& out = summary[task];
    fold_acceptance(method, out);
    if (options.timed) fold_speed(method, baseline, options.is_baseline, out);
    out.exact_match = exact_share(method);
    out.baseline_exact_match = exact_share(baseline);
    fold_quality(method, baseline, out);
    if (!options.sampled) out.same_as_baseline = same_tokens(method, baseline);
  }
  return summary;
}

nlohmann::ordered_json to_json(const Summary& summary, const std::vector<std::string>& order) {
  nlohmann::ordered_json out = nlohmann::ordered_json::object();
  for (const std::string& task : order)
    if (const auto it = summary.find(task); it != summary.end() && task != "overall") out[task] = to_json(it->second);
  for (const auto& [task, folded] : summary)
    if (task != "overall" && !out.contains(task)) out[task] = to_json(folded);
  out["overall"] = to_json(summary.at("overall"));
  return out;
}

}  // namespace foretell
