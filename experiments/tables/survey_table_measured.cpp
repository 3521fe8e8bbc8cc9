#include "experiments/tables/survey_table_measured.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>

#include "experiments/results/store.h"
#include "experiments/results/summary_check.h"
#include "experiments/study/pipeline.h"
#include "experiments/util/shell_quote.h"
#include "framework/core/text.h"

namespace foretell::tables {
namespace {

std::optional<double> number_of(const io::OrderedJsonView& task, const char* key) {
  const auto value = task.find(key);
  return value ? std::optional(value->number()) : std::nullopt;
}

std::string text_of(const io::OrderedJsonView& task, const char* key) {
  const auto value = task.find(key);
  return value ? value->string() : "";
}

std::optional<double> accepted_per_round(const io::OrderedJsonView& task) {
  const auto accepted = number_of(task, "accepted"), rounds = number_of(task, "rounds");
  return accepted && rounds && *rounds > 0 ? std::optional(*accepted / *rounds) : std::nullopt;
}

std::optional<metrics::Interval> interval_of(const io::OrderedJsonView& task, const std::string& metric) {
  const auto bounds = metric == "speedup" ? task.find("speedup_interval") : std::nullopt;
  if (!bounds) return std::nullopt;
  return metrics::Interval{bounds->at(std::size_t{0}).number(), bounds->at(std::size_t{1}).number()};
}

MeasuredNumber measure_of(const std::string& metric, const io::OrderedJsonView& task, const std::string& name,
                          const std::filesystem::path& folder, bool timed) {
  if (metric == "accepted_per_round") return {accepted_per_round(task)};
  const auto in_doubt = [&](MeasuredNumber number, std::optional<double> samples) {
    if (text_of(task, "verdict") == name_of(metrics::SpeedupVerdict::UnreliableTiming))
      number.doubt = text_of(task, "verdict_words");
    if (samples && *samples < metrics::kLeastPrompts)
      number.unsure = fmt::format("measured over {:.0f}, at least {} prompts or batches are needed", *samples,
                                  metrics::kLeastPrompts);
    else if (!number.interval)
      number.unsure = "it has no interval";
    return number;
  };
  if (metric == "speedup_mean_of_questions") {
    const auto speedup = timed ? speedup_mean_of_questions(results::undamaged_records(folder), name) : std::nullopt;
    return speedup ? in_doubt({speedup->value, speedup->interval}, speedup->samples) : MeasuredNumber{};
  }
  const MeasuredNumber number{number_of(task, metric.c_str()), interval_of(task, metric)};
  return metric == "speedup" || metric == "decode_speedup" ? in_doubt(number, number_of(task, "speedup_samples"))
                                                           : number;
}

// Of the pipeline as the study has it, and of what the run knew of it: a plug-in need not be loaded here.
std::string given_to(const study::PipelineSection& pipeline, const io::OrderedJsonView& summary) {
  std::vector<std::string> parts = given_acceptance(pipeline);
  if (const auto written = summary.find("given_acceptance"))
    for (std::size_t i = 0; i < written->size(); ++i)
      if (std::find(parts.begin(), parts.end(), written->at(i).string()) == parts.end())
        parts.push_back(written->at(i).string());
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::string task_names(const io::OrderedJsonView& tasks) {
  std::string out;
  for (const auto& [name, value] : tasks.raw().items()) out += (out.empty() ? "" : ", ") + name;
  return out;
}

}  // namespace

const std::vector<std::string>& measure_names() {
  static const std::vector<std::string> names = {"mean_acceptance_length",
                                                 "mean_acceptance_length_per_request",
                                                 "accepted_per_round",
                                                 "draft_acceptance_rate",
                                                 "speedup",
                                                 "decode_speedup",
                                                 "speedup_mean_of_questions"};
  return names;
}

std::optional<QuestionSpeedup> speedup_mean_of_questions(std::span<const results::GenerationRecord> records,
                                                         const std::string& task) {
  struct Side {
    double tokens = 0, ns = 0;
    double rate() const { return tokens / ns; }
  };
  std::map<int, std::map<std::string, std::array<Side, 2>>> repeats;  // repeat -> conversation -> method, baseline
  std::map<std::string, std::pair<int, std::string>> unit_of;         // by conversation
  for (const results::GenerationRecord& record : records) {
    if (task != "overall" && record.task != task) continue;
    Side& side = repeats[record.repeat][record.conversation][record.arm == results::PipelineVariant::Baseline];
    side.tokens += static_cast<double>(record.tokens.size());
    side.ns += static_cast<double>(record.wall_ns);
    unit_of[record.conversation] = record.timed_unit();
  }
  QuestionSpeedup sum;
  std::map<std::pair<int, std::string>, metrics::PromptPair>
      pairs;  // of all repeats: rates stand in for tokens, so that questions weigh alike
  int counted = 0;
  for (const auto& [repeat, questions] : repeats) {
    double method = 0, baseline = 0;
    for (const auto& [id, sides] : questions) {
      if (sides[0].ns <= 0 || sides[1].ns <= 0) continue;
      method += sides[0].rate();
      baseline += sides[1].rate();
      metrics::PromptPair& pair = pairs[unit_of.at(id)];
      pair.method_tokens += sides[0].rate();
      pair.baseline_tokens += sides[1].rate();
      pair.method_ns = pair.baseline_ns = 1;
    }
    if (baseline <= 0) continue;
    sum.value += method / baseline;
    ++counted;
  }
  if (!counted) return std::nullopt;
  std::vector<metrics::PromptPair> all;
  all.reserve(pairs.size());
  for (const auto& [unit, pair] : pairs) all.push_back(pair);
  const metrics::Estimate estimate = metrics::paired_speedup(all);
  return QuestionSpeedup{sum.value / counted, estimate.interval, estimate.samples};
}

MeasuredStudies::MeasuredStudies(const SurveyTable& table, std::filesystem::path results)
    : table_(table), results_(std::move(results)) {
  for (const TableStudy& study : table.studies) {
    Source& source = sources_[study.name];
    try {
      source.study = study::load_study(study.file, {});
    } catch (const Error& error) {
      source.unreadable = error.what();  // shown beside every number that is missing for it
    }
  }
}

const study::Cell& MeasuredStudies::cell_of(const Source& source, const TableStudy& study,
                                            const ConfigValue& settings) const {
  const auto is_meant = [&](const study::Cell& cell) {
    return std::all_of(settings.entries().begin(), settings.entries().end(), [&](const ConfigValue::Entry& entry) {
      const ConfigValue* value = cell.settings.find(study::full_path(entry.key));
      return value && same_value(*value, entry.value);
    });
  };
  const auto& cells = source.study->cells;
  const auto meant = std::count_if(cells.begin(), cells.end(), is_meant);
  if (meant != 1)
    fail_at(settings.where(), "{} of the {} of {} {} {}; expected exactly one",
            meant == 0 ? "none" : std::to_string(meant), counted(cells.size(), "cell"), study.file.string(),
            meant == 1 ? "has" : "have", settings.to_flow());
  return *std::find_if(cells.begin(), cells.end(), is_meant);
}

const std::string& MeasuredStudies::damage_of(const std::filesystem::path& folder) const {
  const auto [known, added] = damage_.try_emplace(folder);
  if (added) known->second = foretell::results::damage_of(folder);
  return known->second;
}

MeasuredNumber MeasuredStudies::find(const TableRow& row, const TableColumn& column) const {
  const auto named = row.measured.find(column.study);
  if (named == row.measured.end()) return {std::nullopt, std::nullopt, "no cell is named for it"};
  const TableStudy& study = table_.study(column.study);
  const Source& source = sources_.at(column.study);
  if (!source.study) return {std::nullopt, std::nullopt, "the study cannot be read: " + source.unreadable};
  const study::Cell& cell = cell_of(source, study, named->second);
  const std::filesystem::path folder = results::cell_folder(results_, *source.study, cell);
  if (const std::string& damage = damage_of(folder); !damage.empty())
    return {std::nullopt, std::nullopt, "the cell is damaged: " + damage};
  if (!results::Store(folder).finished())
    return {std::nullopt, std::nullopt,
            fmt::format("not run yet; `foretell run {}{}` does, or --run here", util::shell_quoted(study.file.string()),
                        results_ == "results" ? "" : " --out " + util::shell_quoted(results_.string()))};
  const results::ResultJson summary(folder / "summary.json");
  const Location& where = summary.where();
  const io::OrderedJsonView view = summary.view(), tasks = view.at("tasks");
  const auto task = tasks.find(column.task);
  if (!task)
    fail_at(column.where, "column '{}': {} has no task '{}'; it has {}", column.name, where.file, column.task,
            task_names(tasks));
  const bool timed = view.boolean_or("timed", true);
  MeasuredNumber number = measure_of(column.metric, *task, column.task, folder, timed);
  number.given = given_to(cell.pipeline, view);
  if (!number.value)
    number.missing = timed ? fmt::format("the cell has no {}", column.metric)
                           : "the target is a recorded answer: its times mean nothing";
  return number;
}

std::vector<std::filesystem::path> MeasuredStudies::to_run() const {
  std::vector<std::filesystem::path> out;
  for (const TableStudy& study : table_.studies) {
    const Source& source = sources_.at(study.name);
    const bool finished = source.study && std::all_of(table_.rows.begin(), table_.rows.end(), [&](const TableRow& row) {
                            const auto named = row.measured.find(study.name);
                            if (named == row.measured.end()) return true;
                            const auto folder =
                                results::cell_folder(results_, *source.study, cell_of(source, study, named->second));
                            return damage_of(folder).empty() && results::Store(folder).finished();
                          });
    if (!finished) out.push_back(study.file);
  }
  return out;
}

}  // namespace foretell::tables
