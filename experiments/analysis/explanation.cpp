#include "experiments/analysis/explanation.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "experiments/study/pipeline.h"
#include "experiments/study/sweep.h"

namespace foretell::analysis {
namespace {

constexpr std::string_view kPipeline = "pipeline.";

bool is_pipeline(const std::string& path) { return path.rfind(kPipeline, 0) == 0; }

// The settings of the pipeline, or the others, as cells are named.
std::string settings_name(const study::Cell& cell, bool pipeline) {
  study::SweepPoint point;
  if (cell.settings.kind() == ConfigValue::Kind::Map)
    for (const auto& entry : cell.settings.entries())
      if (is_pipeline(entry.key) == pipeline) point.values.emplace_back(entry.key, entry.value);
  return point.name();
}

std::string pipeline_of(const study::Cell& cell) {
  const std::string name = settings_name(cell, true);
  return name.empty() ? cell.name : name;
}

// "A round emits 2.9 tokens and costs 1.8 plain ones (draft 0.6, score 1.1, the rest 0.1)."
std::string reason(const results::TaskSummary& s) {
  if (!s.mean_acceptance_length || !s.decode_tokens_per_second || !s.baseline_decode_tokens_per_second) return "";
  const double cost = *s.mean_acceptance_length * *s.baseline_decode_tokens_per_second / *s.decode_tokens_per_second;
  const auto total = static_cast<double>(s.phases.draft + s.phases.score + s.phases.verify + s.phases.commit);
  if (total <= 0) return "";
  const double draft = cost * static_cast<double>(s.phases.draft) / total,
               score = cost * static_cast<double>(s.phases.score) / total;
  return fmt::format(
      "a round emits {:.2f} tokens and takes as long as {:.2f} plain ones (draft {:.2f}, score {:.2f}, the rest "
      "{:.2f})",
      *s.mean_acceptance_length, cost, draft, score, cost - draft - score);
}

const results::TaskSummary& overall(const CellResult* result) { return result->summary.at("overall"); }
const metrics::Judgement& judgement(const CellResult* result) { return overall(result).judgement; }

// "1.50x: a round emits ..."
std::string with_reason(const CellResult* result) {
  return fmt::format("{:.2f}x: {}.", *overall(result).speedup, reason(overall(result)));
}

// "no difference shown", or why there is no verdict, without its numbers.
std::string doubt(const CellResult* result) {
  if (judgement(result).verdict) return std::string(name_of(*judgement(result).verdict));
  const std::string& words = judgement(result).words;
  return words.empty() ? "not judged" : words.substr(0, words.find(';'));
}

// The pipelines of one group, fastest first, whose clock can be believed and whose acceptance was measured.
std::string explain_ranked(const std::vector<const CellResult*>& ranked) {
  const CellResult *first = ranked.front(), *last = ranked.back();
  const auto winner =
      std::find_if(ranked.begin(), ranked.end(), [](const CellResult* result) { return judgement(result).wins(); });
  const bool all_lose = std::all_of(ranked.begin(), ranked.end(), [](const CellResult* result) {
    return judgement(result).verdict == metrics::SpeedupVerdict::Slower;
  });
  std::string text;
  if (winner != ranked.end())
    text = fmt::format("{} wins, {}", pipeline_of((*winner)->cell), with_reason(*winner));
  else if (*overall(first).speedup > 1)
    text = fmt::format("{} comes first ({}), {}", pipeline_of(first->cell), doubt(first), with_reason(first));
  else
    text = fmt::format("nothing {} plain decoding; {} comes nearest, {}", all_lose ? "beats" : "is shown to beat",
                       pipeline_of(first->cell), with_reason(first));
  if (ranked.size() > 1 && judgement(last).verdict == metrics::SpeedupVerdict::Slower)
    text += fmt::format(" {} loses, {}", pipeline_of(last->cell), with_reason(last));
  return text;
}

std::string listed(const std::vector<const CellResult*>& results) {
  std::vector<std::string> names;
  names.reserve(results.size());
  for (const CellResult* result : results) names.push_back(pipeline_of(result->cell));
  return fmt::format("{}", fmt::join(names, "; "));
}

std::string explain_group(const std::vector<const CellResult*>& all) {
  std::vector<const CellResult*> ranked, unreliable, given;
  for (const CellResult* result : all) {
    if (judgement(result).unreliable())
      unreliable.push_back(result);
    else if (!given_acceptance(result->cell.pipeline).empty())
      given.push_back(result);
    else
      ranked.push_back(result);
  }
  const std::string group = settings_name(all.front()->cell, false);
  std::vector<std::string> sentences;
  if (!ranked.empty()) sentences.push_back(explain_ranked(ranked));
  if (!unreliable.empty())
    sentences.push_back(fmt::format("unreliable timing, so nothing is said of it: {}.", listed(unreliable)));
  if (!given.empty())
    sentences.push_back(fmt::format("its acceptance was given, so it is in no order: {}.", listed(given)));
  return fmt::format("{}{}\n", group.empty() ? "" : group + ": ", fmt::join(sentences, " "));
}

}  // namespace

std::string explain(const std::vector<CellResult>& results) {
  std::vector<std::string> groups;
  for (const CellResult& result : results)
    if (std::find(groups.begin(), groups.end(), result.cell.group) == groups.end()) groups.push_back(result.cell.group);
  std::string text;
  for (const std::string& group : groups) {
    std::vector<const CellResult*> all;
    for (const CellResult& result : results)
      if (result.timed && !result.cell.is_baseline && result.cell.group == group && overall(&result).speedup)
        all.push_back(&result);
    if (all.empty()) continue;
    std::stable_sort(all.begin(), all.end(), [](const CellResult* a, const CellResult* b) {
      return *overall(a).speedup > *overall(b).speedup;
    });
    text += explain_group(all);
  }
  return text;
}

}  // namespace foretell::analysis
