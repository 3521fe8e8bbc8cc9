#include "experiments/analysis/report.h"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>

#include "experiments/analysis/measures.h"
#include "experiments/analysis/overlap.h"
#include "experiments/results/config_json.h"
#include "experiments/study/pipeline.h"
#include "experiments/util/console.h"
#include "experiments/util/table.h"
#include "framework/core/text.h"

namespace foretell::analysis {
namespace {

constexpr std::size_t kShownDivergences = 8;  // of a cell; a file has the others

std::string shown(const std::optional<double>& value, const char* format) {
  return value ? fmt::format(fmt::runtime(format), *value) : "-";
}

std::optional<double> percent(const std::optional<double>& share) {
  if (!share) return std::nullopt;
  return 100 * *share;
}

// Whether a cell's tasks say more than "overall" alone: several, or one with a name that is not just the workload's
// kind.
bool names_tasks(const CellResult& result) {
  if (result.summary.size() != 2 || result.tasks.size() != 1) return result.summary.size() > 2;
  const ConfigValue* type = result.cell.workload.find("type");
  return result.tasks[0] != "prompts" && !(type && type->is_scalar() && type->text() == result.tasks[0]);
}

// What the marks of a table mean, a line for each cell that has one.
std::string marks_of(const std::vector<CellResult>& results) {
  std::string out;
  for (const CellResult& result : results)
    for (const auto& [task, summary] : result.summary)
      if (summary.judgement.unreliable() && (task == "overall" || names_tasks(result)))
        out += fmt::format("? {}{}: {}\n", result.cell.name, task == "overall" ? "" : ", " + task,
                           summary.judgement.words);
  for (const CellResult& result : results)
    if (const auto given = given_acceptance(result.cell.pipeline); !given.empty())
      out += fmt::format("given acceptance: {}: what is accepted was fed to {}; it is recomputed here, not measured\n",
                         result.cell.name, fmt::join(given, ", "));
  return out;
}

// The name with what its numbers cannot say for themselves.
std::string title_of(const CellResult& result) {
  return result.cell.name + (given_acceptance(result.cell.pipeline).empty() ? "" : " [given acceptance]");
}

// Columns that are there if a cell has something for them.
struct OptionalColumns {
  bool exact = false, quality = false;

  explicit OptionalColumns(const std::vector<CellResult>& results) {
    for (const CellResult& result : results) {
      exact |= result.summary.at("overall").exact_match.has_value();
      quality |= result.summary.at("overall").perplexity.has_value();
    }
  }
};

// "75% (2 ties)". A share below all of a lossless pipeline is a finding, so it says what it is.
std::string same_words(const CellResult& result, const std::string& task, const results::TaskSummary& s) {
  std::string share = shown(percent(s.same_as_baseline), "{:.0f}%");
  if (!s.same_as_baseline || *s.same_as_baseline == 1) return share;
  if (!result.lossless) return share + " (lossy)";
  if (!result.divergences) return share + " (not examined)";
  return fmt::format("{} ({})", share,
                     result.divergences->words(task == "overall" ? std::nullopt : std::optional(task)));
}

std::vector<std::string> row(const std::string& name, const CellResult& result, const std::string& task,
                             const OptionalColumns& columns) {
  const results::TaskSummary& s = result.summary.at(task);
  std::vector<std::string> cells = {name,
                                    std::to_string(s.requests),
                                    std::to_string(s.tokens),
                                    shown(s.mean_acceptance_length, "{:.3f}"),
                                    shown(s.mean_acceptance_length_per_request, "{:.3f}"),
                                    shown(percent(s.draft_acceptance_rate), "{:.1f}%"),
                                    shown(s.tokens_per_second, "{:.1f}"),
                                    shown(s.speedup, s.judgement.unreliable() ? "{:.2f}x ?" : "{:.2f}x"),
                                    same_words(result, task, s)};
  if (columns.exact) cells.push_back(shown(percent(s.exact_match), "{:.1f}%"));
  if (columns.quality) {
    cells.push_back(shown(percent(s.same_as_greedy), "{:.0f}%"));
    cells.push_back(shown(s.greedy_rouge_l, "{:.3f}"));
    cells.push_back(shown(s.perplexity, "{:.3f}"));
  }
  return cells;
}

// Beside an interval stands what was resampled: prompts, or batches of them.
std::string interval_words(const metrics::Estimate& estimate) {
  if (estimate.samples == 0) return "-";
  const std::string bounds =
      estimate.interval ? fmt::format("{:.2f} to {:.2f}", estimate.interval->low, estimate.interval->high) : "none";
  return fmt::format("{} ({})", bounds, metrics::units_of(estimate));
}

nlohmann::ordered_json keeps_json(const study::Losslessness& keeps) {
  return {{"target", keeps.towards_target}, {"checkpoint", keeps.towards_checkpoint}};
}

// Null where they are the checkpoint's.
nlohmann::ordered_json rules_json(const study::PipelineSection& pipeline) {
  return has_rules(pipeline) ? nlohmann::ordered_json(pipeline.target.to_flow()) : nullptr;
}

// Null where it was measured.
nlohmann::ordered_json given_json(const study::PipelineSection& pipeline) {
  const auto given = given_acceptance(pipeline);
  return given.empty() ? nullptr : nlohmann::ordered_json(given);
}

}  // namespace

std::string results_table(const std::vector<CellResult>& results) {
  const bool by_task = std::any_of(results.begin(), results.end(), names_tasks);
  const OptionalColumns columns(results);
  std::vector<std::string> headings = {
      by_task ? "<task" : "<cell", "requests", "tokens",   "mean acc. length", "per request",
      "draft acc. rate",           "tokens/s", "speed-up", "same tokens"};
  if (columns.exact) headings.push_back("exact match");
  if (columns.quality) headings.insert(headings.end(), {"same as greedy", "ROUGE-L to greedy", "perplexity"});
  util::Table table(headings);
  for (const CellResult& result : results) {
    if (!by_task) {
      table.add(row(title_of(result), result, "overall", columns));
      continue;
    }
    table.add_title(title_of(result));
    for (const std::string& task : result.tasks)
      if (result.summary.contains(task)) table.add(row("  " + task, result, task, columns));
    table.add(row("  overall", result, "overall", columns));
  }
  const std::string marks = marks_of(results);
  return table.to_string() + (marks.empty() ? "" : "\n" + marks);
}

std::string speedup_table(const std::vector<CellResult>& results) {
  util::Table table({"<cell", "speed-up", "<95% interval", "<verdict",
                     task_measures()[task_measure("decode_speedup")].heading, "iid", "by position", "oracle",
                     "acceptance", "break-even", "<reason"});
  bool any = false;
  for (const CellResult& result : results) {
    const results::TaskSummary& measured = result.summary.at("overall");
    if (!measured.speedup || result.cell.is_baseline) continue;
    any = true;
    const std::optional<cost::SpeedupPrediction>& p = result.performance.predicted;
    const auto predicted = [&](const auto& field, const char* format) { return p ? shown(field(*p), format) : "-"; };
    table.add({title_of(result), shown(measured.speedup, "{:.2f}x"), interval_words(measured.speedup_estimate),
               measured.judgement.verdict ? std::string(name_of(*measured.judgement.verdict)) : "not judged",
               shown(measured.decode_speedup, "{:.2f}x"), predicted([](const auto& of) { return of.iid; }, "{:.2f}x"),
               predicted([](const auto& of) { return of.position_wise; }, "{:.2f}x"),
               predicted([](const auto& of) { return std::optional(of.oracle); }, "{:.2f}x"),
               predicted([](const auto& of) { return of.acceptance; }, "{:.2f}"),
               predicted([](const auto& of) { return of.break_even; }, "{:.2f}"),
               result.performance.reason.empty() ? "-" : result.performance.reason});
  }
  return any ? table.to_string() : "";
}

std::string prediction_table(const std::vector<CellResult>& results) {
  util::Table table({"<cell", "first token accepted", "text predicts", "output predicts", "mean acc. length",
                     "text predicts", "output predicts"});
  bool any = false;
  for (const CellResult& result : results) {
    if (!result.prediction) continue;
    const Prediction& p = *result.prediction;
    const results::TaskSummary& measured = result.summary.at("overall");
    const auto& positions = measured.acceptance_rate_per_position;
    const auto length = [&](double acceptance) {
      return fmt::format("{:.3f}", predicted_acceptance_length(acceptance, p.depth));
    };
    any = true;
    table.add({result.cell.name, positions.empty() ? "-" : fmt::format("{:.3f}", positions[0]),
               fmt::format("{:.3f}", p.on_text), fmt::format("{:.3f}", p.on_output),
               shown(measured.mean_acceptance_length, "{:.3f}"), length(p.on_text), length(p.on_output)});
  }
  return any ? table.to_string() : "";
}

nlohmann::ordered_json to_json(const std::optional<Prediction>& prediction) {
  if (!prediction) return nullptr;
  const Prediction& p = *prediction;
  return {{"num_speculative_tokens", p.depth},
          {"expected_acceptance_on_text", p.on_text},
          {"expected_acceptance_on_output", p.on_output},
          {"mean_acceptance_length_on_text", predicted_acceptance_length(p.on_text, p.depth)},
          {"mean_acceptance_length_on_output", predicted_acceptance_length(p.on_output, p.depth)}};
}

std::optional<Prediction> prediction_from(const std::optional<results::ResultJson>& file) {
  if (!file) return std::nullopt;
  const io::OrderedJsonView json = file->view();
  return Prediction{static_cast<int>(json.at("num_speculative_tokens").integer(0, 1 << 20)),
                    json.at("expected_acceptance_on_text").number(), json.at("expected_acceptance_on_output").number()};
}

namespace {

// The counts; the differences themselves are in divergence.json.
nlohmann::ordered_json counts_json(const std::optional<Divergences>& divergences) {
  if (!divergences) return nullptr;
  nlohmann::ordered_json counts = to_json(*divergences);
  counts.erase("differences");
  return counts;
}

}  // namespace

nlohmann::ordered_json summary_json(const study::Study& study, const CellResult& result,
                                    const results::FoldOptions& fold) {
  return {{"study", study.name},
          {"cell", result.cell.name},
          {"complete", result.complete},
          {"timed", result.timed},
          {"inflated_from", to_json(result.inflated)},
          {"is_baseline", result.cell.is_baseline},
          {"given_acceptance", given_json(result.cell.pipeline)},
          {"group", result.cell.group},
          {"settings", results::settings_json(result.cell.settings)},
          {"fold", to_json(fold)},
          {"tasks", to_json(result.summary, result.tasks)},
          {"lossless", result.lossless},
          {"keeps_distribution_of", keeps_json(result.keeps)},
          {"target_rules", rules_json(result.cell.pipeline)},
          {"divergence", counts_json(result.divergences)},
          {"performance", to_json(result.performance)},
          {"speedup_by_costs", result.speedup_by_costs ? nlohmann::ordered_json(*result.speedup_by_costs) : nullptr}};
}

std::string divergence_note(const std::vector<CellResult>& results) {
  std::string text;
  for (const CellResult& result : results) {
    if (!result.lossless || !result.divergences || result.divergences->found.empty()) continue;
    const Divergences& d = *result.divergences;
    text += fmt::format("{}: {} of {} are not the baseline's: {}\n", result.cell.name, d.found.size(),
                        counted(d.compared, "answer"), d.words());
    std::size_t lines = 0;
    for (const bool tie : {false, true})  // what needs looking at comes first
      for (const Divergence& difference : d.found)
        if (difference.is_tie == tie && lines++ < kShownDivergences) text += "  " + difference.words + "\n";
    if (lines > kShownDivergences)
      text +=
          fmt::format("  and {} more in {}\n", lines - kShownDivergences, (result.folder / "divergence.json").string());
  }
  if (text.empty()) return "";
  return "Same tokens: a lossless pipeline emits the baseline's tokens at temperature 0, where the target's logits are "
         "not tied.\n" +
         text;
}

std::string inflation_note(const std::vector<CellResult>& results) {
  std::set<std::string> notes;
  const auto add = [&](const char* who, const std::optional<std::string>& from) {
    if (from)
      notes.insert(
          fmt::format("The {} is inflated: {}, padded with zeros to a larger shape. Its tokens are the small model's, "
                      "its cost the large one's.\n",
                      who, util::one_line(*from)));
  };
  for (const CellResult& result : results) {
    add("target", result.inflated.target);
    add("draft model", result.inflated.draft);
  }
  return fmt::format("{}", fmt::join(notes, ""));
}

std::string rules_note(const std::vector<CellResult>& results) {
  std::string text;
  for (const CellResult& result : results)
    if (study::has_rules(result.cell.pipeline))
      text += fmt::format("{}: the target is scored under {}: {}\n", result.cell.name,
                          result.cell.pipeline.target.to_flow(), study::in_words(result.keeps));
  return text;
}

std::string distributions_note(const std::vector<CellResult>& results) {
  std::vector<std::string> notes;
  for (const CellResult& result : results)
    for (const std::string& note : result.notes)
      if (!note.empty() && std::find(notes.begin(), notes.end(), note) == notes.end()) notes.push_back(note);
  util::Table table({"<cell", "speed-up by costs"});
  bool any = false;
  for (const CellResult& result : results) {
    if (!result.speedup_by_costs) continue;
    any = true;
    table.add({result.cell.name, fmt::format("{:.2f}x", *result.speedup_by_costs)});
  }
  std::string text;
  for (const std::string& note : notes) text += (text.empty() ? "\n" : "") + note + "\n";
  if (any)
    text +=
        "\nWhat the recorded costs of rows give for these rounds, beside plain decoding; reading the prompt, "
        "verification and the loop are "
        "not "
        "in it:\n\n" +
        table.to_string();
  return text;
}

nlohmann::ordered_json results_json(const study::Study& study, const std::vector<CellResult>& results) {
  auto cells = nlohmann::ordered_json::array();
  for (const CellResult& result : results)
    cells.push_back(
        {{"name", result.cell.name},
         {"settings", results::settings_json(result.cell.settings)},
         {"tasks", to_json(result.summary, result.tasks)},
         {"timed", result.timed},
         {"inflated_from", to_json(result.inflated)},
         {"given_acceptance", given_json(result.cell.pipeline)},
         {"prediction", to_json(result.prediction)},
         {"lossless", result.lossless},
         {"keeps_distribution_of", keeps_json(result.keeps)},
         {"target_rules", rules_json(result.cell.pipeline)},
         {"divergence", result.divergences ? to_json(*result.divergences) : nullptr},
         {"performance", to_json(result.performance)},
         {"speedup_by_costs", result.speedup_by_costs ? nlohmann::ordered_json(*result.speedup_by_costs) : nullptr},
         {"folder", result.folder.string()}});
  return {{"study", study.name}, {"cells", cells}};
}

}  // namespace foretell::analysis
