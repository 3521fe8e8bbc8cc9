#include "experiments/explanation.h"

#include <fmt/format.h>

#include <algorithm>

#include "experiments/sweep.h"

namespace foretell {
namespace {

constexpr std::string_view kPipeline = "pipeline.";

bool is_pipeline(const std::string& path) { return path.rfind(kPipeline, 0) == 0; }

// The settings of the pipeline, or the others, as cells are named.
std::string settings_name(const Cell& cell, bool pipeline) {
  SweepPoint point;
  if (cell.settings.kind() == ConfigValue::Kind::Map)
    for (const auto& entry : cell.settings.entries())
      if (is_pipeline(entry.key) == pipeline) point.values.emplace_back(entry.key, entry.value);
  return point.name();
}

std::string pipeline_of(const Cell& cell) {
  const std::string name = settings_name(cell, true);
  return name.empty() ? cell.name : name;
}

// "A round emits 2.9 tokens and costs 1.8 plain ones (draft 0.6, score 1.1, the rest 0.1)."
std::string reason(const TaskSummary& s) {
  if (!s.mean_acceptance_length || !s.decode_tokens_per_second || !s.baseline_decode_tokens_per_second) return "";
  const double cost = *s.mean_acceptance_length * *s.baseline_decode_tokens_per_second / *s.decode_tokens_per_second;
  const auto total = static_cast<double>(s.phases.draft + s.phases.score + s.phases.verify + s.phases.commit);
  if (total <= 0) return "";
  const double draft = cost * static_cast<double>(s.phases.draft) / total, score = cost * static_cast<double>(s.phases.score) / total;
  return fmt::format("a round emits {:.2f} tokens and takes as long as {:.2f} plain ones (draft {:.2f}, score {:.2f}, the rest {:.2f})",
                     *s.mean_acceptance_length, cost, draft, score, cost - draft - score);
}

const TaskSummary& overall(const CellResult* result) { return result->summary.at("overall"); }

// The pipelines of one group, fastest first.
std::string explain_group(const std::string& group, const std::vector<const CellResult*>& ranked) {
  const std::string where = group.empty() ? "" : group + ": ";
  const CellResult& best = *ranked.front();
  const double speedup = *overall(&best).speedup;
  const auto& verdict = overall(&best).judgement.verdict;
  const std::string wins = !verdict || *verdict == SpeedupVerdict::Faster ? "wins" : fmt::format("comes first ({})", name_of(*verdict));
  std::string text = speedup > 1
                         ? fmt::format("{}{} {}, {:.2f}x: {}.", where, pipeline_of(best.cell), wins, speedup, reason(overall(&best)))
                         : fmt::format("{}nothing beats plain decoding; {} comes nearest, {:.2f}x: {}.", where, pipeline_of(best.cell),
                                       speedup, reason(overall(&best)));
  const CellResult& worst = *ranked.back();
  if (ranked.size() > 1 && *overall(&worst).speedup < 1)
    text += fmt::format(" {} loses, {:.2f}x: {}.", pipeline_of(worst.cell), *overall(&worst).speedup, reason(overall(&worst)));
  return text + "\n";
}

}  // namespace

std::string explain(const std::vector<CellResult>& results) {
  std::vector<std::string> groups;
  for (const CellResult& result : results)
    if (std::find(groups.begin(), groups.end(), result.cell.group) == groups.end()) groups.push_back(result.cell.group);
  std::string text;
  for (const std::string& group : groups) {
    std::vector<const CellResult*> ranked;
    for (const CellResult& result : results)
      if (result.timed && !result.cell.is_baseline && result.cell.group == group && overall(&result).speedup) ranked.push_back(&result);
    if (ranked.empty()) continue;
    std::stable_sort(ranked.begin(), ranked.end(),
                     [](const CellResult* a, const CellResult* b) { return *overall(a).speedup > *overall(b).speedup; });
    text += explain_group(settings_name(ranked.front()->cell, false), ranked);
  }
  return text;
}

}  // namespace foretell
