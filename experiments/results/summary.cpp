#include "experiments/results/summary.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "framework/metrics/metrics.h"

namespace foretell::results {
namespace {

// Goes up when the same records give other numbers than before.
constexpr int kFoldVersion = 1;

using RequestKey = std::tuple<std::string, int>;  // conversation, turn

struct RequestRuns {
  std::map<int, const GenerationRecord*> by_repeat;

  const GenerationRecord& first() const { return *by_repeat.begin()->second; }
  double median_ns(bool with_prefill) const {
    std::vector<double> times;
    for (const auto& [repeat, record] : by_repeat)
      times.push_back(static_cast<double>(record->wall_ns - (with_prefill ? 0 : record->prefill_ns)));
    return *metrics::median(std::move(times));
  }
  std::optional<double> median_contention() const {
    std::vector<double> shares;
    for (const auto& [repeat, record] : by_repeat)
      if (record->contention) shares.push_back(*record->contention);
    return metrics::median(std::move(shares));
  }
};

using Requests = std::map<RequestKey, RequestRuns>;

Requests requests_of(std::span<const GenerationRecord> records, PipelineVariant arm, const std::string& task) {
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
  std::vector<metrics::Rounds> apart;
  for (const auto& [key, runs] : requests) {
    const GenerationRecord& record = runs.first();
    pooled.insert(pooled.end(), record.rounds.begin(), record.rounds.end());
    apart.emplace_back(record.rounds);
    out.tokens += static_cast<std::int64_t>(record.tokens.size());
  }
  out.requests = static_cast<int>(requests.size());
  out.rounds = static_cast<std::int64_t>(pooled.size());
  out.drafted = metrics::drafted_tokens(pooled);
  out.accepted = metrics::accepted_tokens(pooled);
  out.mean_acceptance_length = metrics::mean_acceptance_length(pooled);
  out.mean_acceptance_length_per_request = metrics::mean_acceptance_length_per_request(apart);
  out.draft_acceptance_rate = metrics::draft_acceptance_rate(pooled);
  out.accepted_per_round = metrics::accepted_per_round(pooled);
  out.drafted_per_round = metrics::drafted_per_round(pooled);
  out.scored_per_round = metrics::scored_per_round(pooled);
  out.emitted_per_scored = metrics::emitted_per_scored(pooled);
  out.undrafted_round_share = metrics::undrafted_round_share(pooled);
  out.acceptance_per_trial = metrics::acceptance_per_trial(pooled);
  out.work = metrics::work_rates(pooled);
  out.experts = {moe::layer_loads(pooled), moe::touched_by_rows(pooled)};
  out.acceptance_rate_per_position = metrics::acceptance_rate_per_position(pooled);
  out.conditional_acceptance_per_position = metrics::conditional_acceptance_per_position(pooled);
  out.acceptance_histogram = metrics::acceptance_histogram(pooled);
  out.acceptance_histogram_by_depth = metrics::acceptance_histogram_by_depth(pooled);
  out.phases = metrics::phase_times(pooled);
}

// What each unit, a prompt with its turns or a batch of prompts, took in one repeat, or in the medians of all (no
// repeat named).
std::vector<metrics::PromptPair> prompt_pairs(const Requests& method, const Requests& baseline,
                                              std::optional<int> repeat) {
  const auto ns = [&](const RequestRuns& runs) -> std::optional<double> {
    if (!repeat) return runs.median_ns(true);
    const auto run = runs.by_repeat.find(*repeat);
    if (run == runs.by_repeat.end()) return std::nullopt;
    return static_cast<double>(run->second->wall_ns);
  };
  std::map<std::pair<int, std::string>, metrics::PromptPair> pairs;
  std::map<std::pair<int, std::string>, std::set<std::string>> prompts;
  for (const auto& [key, runs] : method) {
    const auto other = baseline.find(key);
    if (other == baseline.end()) continue;
    const auto own = ns(runs), against = ns(other->second);
    if (!own || !against) continue;
    const auto unit = runs.first().timed_unit();
    prompts[unit].insert(std::get<0>(key));
    metrics::PromptPair& pair = pairs[unit];
    pair.method_tokens += static_cast<double>(runs.first().tokens.size());
    pair.method_ns += *own;
    pair.baseline_tokens += static_cast<double>(other->second.first().tokens.size());
    pair.baseline_ns += *against;
  }
  std::vector<metrics::PromptPair> out;
  out.reserve(pairs.size());
  for (auto& [unit, pair] : pairs) {
    pair.prompts = static_cast<int>(prompts.at(unit).size());
    out.push_back(pair);
  }
  return out;
}

bool drafted_nothing(const Requests& requests) {
  return std::all_of(requests.begin(), requests.end(),
                     [](const auto& entry) { return metrics::drafted_tokens(entry.second.first().rounds) == 0; });
}

void fold_certainty(const Requests& method, const Requests& baseline, const FoldOptions& options, TaskSummary& out) {
  out.speedup_estimate = metrics::paired_speedup(prompt_pairs(method, baseline, std::nullopt), {.seed = options.seed});
  std::set<int> repeats;
  for (const auto& [key, runs] : method)
    for (const auto& [repeat, record] : runs.by_repeat) repeats.insert(repeat);
  std::vector<std::vector<metrics::PromptPair>> by_repeat;
  by_repeat.reserve(repeats.size());
  for (const int repeat : repeats) by_repeat.push_back(prompt_pairs(method, baseline, repeat));
  out.speedup_noise = speedup_noise(by_repeat);
  // An absent number is smaller than any.
  out.judgement = judge(out.speedup_estimate, out.speedup_noise, std::max(out.contention, out.baseline_contention));
  if (options.drafts && out.accepted == 0 && out.judgement.wins() && drafted_nothing(baseline))
    out.judgement = metrics::unreliable_timing(out.speedup_estimate,
                                               "no drafted token was accepted, so nothing can have been gained");
}

std::optional<double> contention_of(const Requests& requests) {
  double waited = 0, all = 0;
  for (const auto& [key, runs] : requests) {
    const auto share = runs.median_contention();
    if (!share) continue;
    waited += *share * runs.median_ns(true);
    all += runs.median_ns(true);
  }
  if (all <= 0) return std::nullopt;
  return waited / all;
}

void fold_latency(const Requests& method, const metrics::LatencyTargets& targets, TaskSummary& out) {
  std::vector<std::vector<metrics::Emission>> requests;
  double one_after_another = 0;
  std::int64_t first_arrival = std::numeric_limits<std::int64_t>::max(), last_end = 0;
  bool open_loop = false;
  for (const auto& [key, runs] : method) {
    const GenerationRecord& record = runs.first();
    if (record.round_ends.size() != record.rounds.size()) return;  // of an older run
    std::vector<metrics::Emission> emissions;
    emissions.reserve(record.rounds.size());
    for (std::size_t i = 0; i < record.rounds.size(); ++i)
      emissions.push_back({record.round_ends[i], record.rounds[i].emitted});
    requests.push_back(std::move(emissions));
    one_after_another += static_cast<double>(record.wall_ns);
    first_arrival = std::min(first_arrival, record.arrival_ns);
    last_end = std::max(last_end, record.arrival_ns + record.wall_ns);
    open_loop |= record.arrival_ns > 0;
  }
  out.latency = metrics::latency_summary(requests);
  const bool asked = targets.time_to_first_token_ns || targets.time_per_output_token_ns || targets.end_to_end_ns;
  if (asked)
    out.goodput =
        goodput(requests, targets, open_loop ? static_cast<double>(last_end - first_arrival) : one_after_another);
}

// [J / token] of the first repeats.
std::optional<double> joules_per_token(const Requests& requests, const std::optional<double>& watts) {
  double joules = 0, tokens = 0;
  for (const auto& [key, runs] : requests) {
    const GenerationRecord& record = runs.first();
    if (!record.joules && !watts) return std::nullopt;
    joules += record.joules ? *record.joules : *watts * static_cast<double>(record.wall_ns) * 1e-9;
    tokens += static_cast<double>(record.tokens.size());
  }
  if (tokens == 0) return std::nullopt;
  return joules / tokens;
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
  const auto decoded = speed(method, false, &baseline), decoded_against = speed(baseline, false, &method);
  if (decoded && decoded_against) out.decode_speedup = *decoded / *decoded_against;
}

nlohmann::ordered_json number(const std::optional<double>& value) {
  return value ? nlohmann::ordered_json(*value) : nullptr;
}

nlohmann::ordered_json text(const std::string& words) {
  return words.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(words);
}

nlohmann::ordered_json milliseconds(const std::optional<metrics::Percentiles>& of, const std::optional<double>& mean) {
  if (!of || !mean) return nullptr;
  return {{"p50", of->p50 * 1e-6}, {"p90", of->p90 * 1e-6}, {"p99", of->p99 * 1e-6}, {"mean", *mean * 1e-6}};
}

nlohmann::ordered_json to_json(const metrics::LatencySummary& l) {
  return {{"ttft_ms", milliseconds(l.time_to_first_token, l.mean_time_to_first_token)},
          {"tpot_ms", milliseconds(l.time_per_output_token, l.mean_time_per_output_token)},
          {"itl_ms", milliseconds(l.gap_per_token, l.mean_gap_per_token)},
          {"round_gap_ms", milliseconds(l.gap_per_round, l.mean_gap_per_round)},
          {"e2e_ms", milliseconds(l.end_to_end, l.mean_end_to_end)}};
}

nlohmann::ordered_json interval(const std::optional<metrics::Interval>& of) {
  return of ? nlohmann::ordered_json::array({of->low, of->high}) : nlohmann::ordered_json();
}

nlohmann::ordered_json histograms(const std::map<int, std::vector<std::int64_t>>& by_depth) {
  auto out = nlohmann::ordered_json::object();
  for (const auto& [depth, histogram] : by_depth) out[std::to_string(depth)] = histogram;
  return out;
}

nlohmann::ordered_json to_json(const metrics::WorkRates& work) {
  return {{"layers_per_row", work.layers_per_row},         {"left_early_share", work.left_early_share},
          {"recomputed_per_row", work.recomputed_per_row}, {"attended_per_row", work.attended_per_row},
          {"experts_per_row", work.experts_per_row},       {"probes_per_row", work.probes_per_row}};
}

nlohmann::ordered_json to_json(const TaskSummary& s) {
  const auto ms = [](std::int64_t ns) { return static_cast<double>(ns) * 1e-6; };
  nlohmann::ordered_json out = {
      {"mean_acceptance_length", number(s.mean_acceptance_length)},
      {"mean_acceptance_length_per_request", number(s.mean_acceptance_length_per_request)},
      {"draft_acceptance_rate", number(s.draft_acceptance_rate)},
      {"tokens", s.tokens},
      {"rounds", s.rounds},
      {"tokens_per_second", number(s.tokens_per_second)},
      {"speedup", number(s.speedup)},
      {"decode_speedup", number(s.decode_speedup)},
      {"speedup_interval", interval(s.speedup_estimate.interval)},
      {"speedup_confidence",
       s.speedup_estimate.interval ? nlohmann::ordered_json(s.speedup_estimate.interval->confidence) : nullptr},
      {"speedup_samples", s.speedup_estimate.samples},
      {"speedup_units", s.speedup_estimate.samples > 0 ? text(metrics::units_of(s.speedup_estimate)) : nullptr},
      {"speedup_no_interval", text(s.speedup_estimate.no_interval)},
      {"speedup_noise", number(s.speedup_noise)},
      {"contention", number(s.contention)},
      {"baseline_contention", number(s.baseline_contention)},
      {"verdict", s.judgement.verdict ? text(std::string(name_of(*s.judgement.verdict))) : nullptr},
      {"verdict_words", text(s.judgement.words)},
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
      {"accepted_per_round", number(s.accepted_per_round)},
      {"drafted_per_round", number(s.drafted_per_round)},
      {"scored_per_round", number(s.scored_per_round)},
      {"emitted_per_scored", number(s.emitted_per_scored)},
      {"undrafted_round_share", number(s.undrafted_round_share)},
      {"acceptance_per_trial", number(s.acceptance_per_trial)},
      {"acceptance_rate_per_position", s.acceptance_rate_per_position},
      {"conditional_acceptance_per_position", s.conditional_acceptance_per_position},
      {"acceptance_histogram", s.acceptance_histogram},
      {"acceptance_histogram_by_depth", histograms(s.acceptance_histogram_by_depth)},
      {"latency", to_json(s.latency)},
      {"goodput_per_second", number(s.goodput)},
      {"joules_per_token", number(s.joules_per_token)},
      {"baseline_joules_per_token", number(s.baseline_joules_per_token)},
      {"phase_ms",
       {{"draft", ms(s.phases.draft)},
        {"score", ms(s.phases.score)},
        {"verify", ms(s.phases.verify)},
        {"commit", ms(s.phases.commit)}}}};
  if (s.work) out["work"] = to_json(*s.work);
  if (!s.experts.layers.empty()) out["experts"] = to_json(s.experts);
  return out;
}

std::optional<double> number_at(const io::OrderedJsonView& json, const char* key) {
  const auto value = json.find(key);
  return value ? std::optional(value->number()) : std::nullopt;
}

}  // namespace

nlohmann::ordered_json to_json(const FoldOptions& o) {
  return {{"version", kFoldVersion},
          {"timed", o.timed},
          {"sampled", o.sampled},
          {"is_baseline", o.is_baseline},
          {"drafts", o.drafts},
          {"seed", o.seed},
          {"time_to_first_token_ns", number(o.targets.time_to_first_token_ns)},
          {"time_per_output_token_ns", number(o.targets.time_per_output_token_ns)},
          {"end_to_end_ns", number(o.targets.end_to_end_ns)},
          {"stated_watts", number(o.stated_watts)}};
}

std::optional<FoldOptions> fold_options_from(const io::OrderedJsonView& json) {
  if (json.integer_or("version", 0) != kFoldVersion) return std::nullopt;
  return FoldOptions{.timed = json.at("timed").boolean(),
                     .sampled = json.at("sampled").boolean(),
                     .is_baseline = json.at("is_baseline").boolean(),
                     .drafts = json.at("drafts").boolean(),
                     .seed = static_cast<std::uint64_t>(json.at("seed").integer()),
                     .targets = {number_at(json, "time_to_first_token_ns"), number_at(json, "time_per_output_token_ns"),
                                 number_at(json, "end_to_end_ns")},
                     .stated_watts = number_at(json, "stated_watts")};
}

Summary fold(std::span<const GenerationRecord> records, const FoldOptions& options) {
  std::set<std::string> tasks = {"overall"};
  for (const GenerationRecord& record : records) tasks.insert(record.task);
  Summary summary;
  for (const std::string& task : tasks) {
    const Requests method = requests_of(records, PipelineVariant::Method, task),
                   baseline = requests_of(records, PipelineVariant::Baseline, task);
    TaskSummary& out = summary[task];
    fold_acceptance(method, out);
    if (options.timed) {
      fold_speed(method, baseline, options.is_baseline, out);
      out.contention = contention_of(method);
      out.baseline_contention = contention_of(baseline);
      if (!options.is_baseline) fold_certainty(method, baseline, options, out);
      fold_latency(method, options.targets, out);
      out.joules_per_token = joules_per_token(method, options.stated_watts);
      out.baseline_joules_per_token = joules_per_token(baseline, options.stated_watts);
    }
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

}  // namespace foretell::results
