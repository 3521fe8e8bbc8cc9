#include "experiments/report/report_tables.h"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <set>

#include "experiments/analysis/divergence.h"
#include "experiments/analysis/measures.h"
#include "experiments/util/console.h"
#include "experiments/util/shell_quote.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/metrics/statistics.h"

namespace foretell::report {
namespace {

constexpr int kShownDepth = 16;            // of drafts; deeper ones are in JSON
constexpr std::size_t kShownExperts = 64;  // of a layer; all are in JSON
constexpr std::size_t kNamed = 20;         // cells that a note names; the others are counted

template <class F>
void for_each_task(const StudyFolder& study, const F& f) {
  for (const ReportCell& cell : study.cells)
    for (const TaskNumbers& task : cell.tasks) f(cell, task);
}

template <class F>
void with_overall(const StudyFolder& study, const F& f) {
  for (const ReportCell& cell : study.cells)
    if (const TaskNumbers* overall = cell.overall()) f(cell, *overall);
}

// Whether tasks say more than "overall" alone.
bool has_tasks(const StudyFolder& study) {
  return std::any_of(study.cells.begin(), study.cells.end(),
                     [](const ReportCell& cell) { return cell.tasks.size() > 2; });
}

bool is_shown(const analysis::Measure& measure, bool any) {
  return measure.in_table == analysis::InTable::Always || (measure.in_table == analysis::InTable::IfAny && any);
}

std::string cell_title(const ReportCell& cell) {
  std::string name = cell.name;
  if (cell.is_baseline) name += " [A/A]";
  if (!cell.given.empty()) name += " [given acceptance]";
  if (cell.state != CellState::Complete) name += fmt::format(" [{}]", name_of(cell.state));
  return name;
}

std::string listed(const std::vector<std::string>& names) {
  std::string out;
  for (std::size_t i = 0; i < std::min(names.size(), kNamed); ++i) out += (i ? "; " : "") + names[i];
  return names.size() > kNamed ? fmt::format("{}; and {} more", out, names.size() - kNamed) : out;
}

std::vector<std::string> names_where(const StudyFolder& study, const std::function<bool(const ReportCell&)>& wanted) {
  std::vector<std::string> names;
  for (const ReportCell& cell : study.cells)
    if (wanted(cell)) names.push_back(cell.name);
  return names;
}

}  // namespace

std::string interval_text(const TaskNumbers& task) {
  const auto &low = task.at("speedup_interval_low"), &high = task.at("speedup_interval_high");
  if (!low || !high) return task.units.empty() ? "-" : fmt::format("none ({})", task.units);
  const std::string bounds = fmt::format("{:.2f} to {:.2f}", *low, *high);
  return task.units.empty() ? bounds : fmt::format("{} ({})", bounds, task.units);
}

std::string same_tokens_text(const ReportCell& cell, const TaskNumbers& task) {
  const auto& share = task.at("same_as_baseline");
  std::string text = analysis::formatted(share, analysis::NumberFormat::RoundShare);
  if (!share || *share == 1 || !cell.lossless) return text;
  if (!*cell.lossless) return text + " (lossy)";
  if (!cell.differences) return text + " (not examined)";
  int ties = 0, faults = 0;
  for (const ReportDifference& difference : *cell.differences)
    if (task.task == "overall" || difference.task == task.task) ++(difference.tie ? ties : faults);
  return fmt::format("{} ({})", text, analysis::divergence_words(ties, faults));
}

ReportTable results_rows(const StudyFolder& study) {
  const auto measures = analysis::task_measures();
  const std::size_t speedup = analysis::task_measure("speedup"), low = analysis::task_measure("speedup_interval_low"),
                    same = analysis::task_measure("same_as_baseline");
  std::vector<bool> any(measures.size(), false);
  bool judged = false;
  for_each_task(study, [&](const ReportCell&, const TaskNumbers& task) {
    for (std::size_t i = 0; i < measures.size(); ++i) any[i] = any[i] || task.values[i];
    judged |= !task.verdict.empty();
  });
  const bool by_task = has_tasks(study);
  ReportTable table{.headings = {"<cell"}};
  if (by_task) table.headings.push_back("<task");
  for (std::size_t i = 0; i < measures.size(); ++i) {
    if (!is_shown(measures[i], any[i])) continue;
    table.headings.push_back(measures[i].heading);
    if (i == speedup && any[low]) table.headings.push_back("interval");
    if (i == speedup && judged) table.headings.push_back("<verdict");
  }
  for (const ReportCell& cell : study.cells) {
    const auto add = [&](const std::string& name, const TaskNumbers* task) {
      std::vector<std::string> row = {cell_title(cell)};
      if (by_task) row.push_back(name);
      for (std::size_t i = 0; i < measures.size(); ++i) {
        if (!is_shown(measures[i], any[i])) continue;
        row.push_back(!task       ? "-"
                      : i == same ? same_tokens_text(cell, *task)
                                  : analysis::formatted(task->values[i], measures[i].format));
        if (i == speedup && any[low]) row.push_back(task ? interval_text(*task) : "-");
        if (i == speedup && judged) row.push_back(task && !task->verdict.empty() ? task->verdict : "-");
      }
      table.rows.push_back(std::move(row));
    };
    if (cell.tasks.empty()) add("-", nullptr);
    for (const TaskNumbers& task : cell.tasks)
      if (by_task || &task == &cell.tasks.back()) add(task.task, &task);
  }
  return table;
}

ReportTable predicted_rows(const StudyFolder& study) {
  const auto measures = analysis::cell_measures();
  const auto has_any = [](const ReportCell& cell) {
    return std::any_of(cell.values.begin(), cell.values.end(), [](const auto& value) { return value.has_value(); });
  };
  std::vector<bool> any(measures.size(), false);
  for (const ReportCell& cell : study.cells)
    for (std::size_t i = 0; i < measures.size(); ++i) any[i] = any[i] || cell.values[i];
  // Predictions leave the prefill out, so what stands beside them does too.
  const analysis::Measure& decoding = analysis::task_measures()[analysis::task_measure("decode_speedup")];
  ReportTable table{.headings = {"<cell", "<verdict", decoding.heading}};
  for (std::size_t i = 0; i < measures.size(); ++i)
    if (is_shown(measures[i], any[i])) table.headings.push_back(measures[i].heading);
  for (const ReportCell& cell : study.cells) {
    const TaskNumbers* overall = cell.overall();
    if (!overall || !has_any(cell)) continue;
    std::vector<std::string> row = {cell_title(cell), overall->verdict.empty() ? "-" : overall->verdict,
                                    analysis::formatted(overall->at(decoding.name), decoding.format)};
    for (std::size_t i = 0; i < measures.size(); ++i)
      if (is_shown(measures[i], any[i])) row.push_back(analysis::formatted(cell.values[i], measures[i].format));
    table.rows.push_back(std::move(row));
  }
  return table;
}

ReportTable depth_rows(const StudyFolder& study) {
  std::size_t most = 0;
  const auto for_each_depth = [&](const auto& f) {
    for (const ReportCell& cell : study.cells) {
      const TaskNumbers* overall = cell.overall();
      if (!overall) continue;
      for (const DepthCounts& counts : overall->by_depth)
        if (counts.depth > 0 && counts.depth <= kShownDepth) f(cell, counts);
    }
  };
  for_each_depth([&](const ReportCell&, const DepthCounts& counts) { most = std::max(most, counts.rounds.size()); });
  ReportTable table{.headings = {"<cell", "depth", "rounds"}};
  for (std::size_t accepted = 0; accepted < most; ++accepted)
    table.headings.push_back(fmt::format("{} accepted", accepted));
  for_each_depth([&](const ReportCell& cell, const DepthCounts& counts) {
    const double rounds = std::accumulate(counts.rounds.begin(), counts.rounds.end(), 0.0);
    std::vector<std::string> row = {cell_title(cell), std::to_string(counts.depth), fmt::format("{:.0f}", rounds)};
    for (std::size_t accepted = 0; accepted < most; ++accepted)
      row.push_back(accepted < counts.rounds.size() && rounds > 0
                        ? analysis::formatted(counts.rounds[accepted] / rounds, analysis::NumberFormat::Share)
                        : "-");
    table.rows.push_back(std::move(row));
  });
  return table;
}

ReportTable expert_rows(const StudyFolder& study) {
  ReportTable table{.headings = {"<cell", "layer"}};
  with_overall(study, [&](const ReportCell& cell, const TaskNumbers& task) {
    for (const LayerNumbers& layer : task.experts) {
      std::vector<std::string> row = {cell_title(cell), std::to_string(layer.layer)};
      for (const auto& [heading, value] : layer.values) {
        if (table.rows.empty()) table.headings.push_back(heading);
        row.push_back(analysis::formatted(value, analysis::NumberFormat::ThreeDigits));
      }
      table.rows.push_back(std::move(row));
    }
  });
  return table;
}

ReportTable touched_rows(const StudyFolder& study) {
  ReportTable table{.headings = {"<cell", "rows", "rounds x layers", "experts", "if uniform", "ratio"}};
  with_overall(study, [&](const ReportCell& cell, const TaskNumbers& task) {
    for (const TouchedNumbers& of : task.touched)
      table.rows.push_back({cell_title(cell), fmt::format("{:.0f}", of.rows), fmt::format("{:.0f}", of.rounds),
                            fmt::format("{:.2f}", of.touched), fmt::format("{:.2f}", of.uniform),
                            of.uniform > 0 ? fmt::format("{:.3f}", of.touched / of.uniform) : "-"});
  });
  return table;
}

ReportTable load_rows(const StudyFolder& study) {
  ReportTable table{.headings = {"<cell", "layer"}};
  std::size_t most = 0;
  with_overall(study, [&](const ReportCell&, const TaskNumbers& task) {
    for (const LayerNumbers& layer : task.experts) most = std::max(most, layer.load.size());
  });
  most = std::min(most, kShownExperts);
  for (std::size_t expert = 0; expert < most; ++expert) table.headings.push_back(std::to_string(expert));
  with_overall(study, [&](const ReportCell& cell, const TaskNumbers& task) {
    for (const LayerNumbers& layer : task.experts) {
      const double sum = std::accumulate(layer.load.begin(), layer.load.end(), 0.0);
      std::vector<std::string> row = {cell_title(cell), std::to_string(layer.layer)};
      for (std::size_t expert = 0; expert < most; ++expert)
        row.push_back(expert < layer.load.size() && sum > 0
                          ? fmt::format("{:.2f}", layer.load[expert] * static_cast<double>(layer.load.size()) / sum)
                          : "-");
      table.rows.push_back(std::move(row));
    }
  });
  return table;
}

Facts machine_facts(const StudyFolder& study) {
  std::vector<std::string> order;
  std::map<std::string, std::map<std::string, int>> values;
  for (const ReportCell& cell : study.cells)
    for (const auto& [what, value] : cell.machine) {
      if (!values.count(what)) order.push_back(what);
      ++values[what][value];
    }
  Facts out;
  for (const std::string& what : order) {
    std::string text;
    for (const auto& [value, cells] : values[what])
      text += (text.empty() ? "" : "; ") +
              (values[what].size() == 1 ? value : fmt::format("{} ({})", value, counted(cells, "cell")));
    out.emplace_back(what, text);
  }
  return out;
}

Facts reasons(const StudyFolder& study) {
  Facts out;
  for (const ReportCell& cell : study.cells)
    if (!cell.reason.empty()) out.emplace_back(cell.name, cell.reason);
  return out;
}

std::vector<std::string> notes(const StudyFolder& study) {
  std::vector<std::string> out;
  const auto add_cells = [&](const std::string& before, const std::vector<std::string>& names,
                             const std::string& after) {
    if (!names.empty()) out.push_back(before + listed(names) + after);
  };
  out.push_back(
      "mean acc. length: tokens emitted per round, the target's own included; plain decoding has 1.0. Per request: "
      "every request weighs "
      "alike.");
  std::set<double> confidences;
  for_each_task(study, [&](const ReportCell&, const TaskNumbers& task) {
    if (const auto& confidence = task.at("speedup_confidence"); confidence && task.at("speedup_interval_low"))
      confidences.insert(*confidence);
  });
  std::set<std::string> none;
  for_each_task(study, [&](const ReportCell&, const TaskNumbers& task) {
    if (!task.no_interval.empty()) none.insert(task.no_interval);
  });
  for (const std::string& why : none) out.push_back(fmt::format("no interval: {}.", why));
  for (const double confidence : confidences)
    out.push_back(
        fmt::format("interval: of the speed-up, with {:.0f}% confidence, over the prompts or batches that it names: "
                    "they were drawn "
                    "again, the baseline's and the method's times of one together. Prompts of a batch share its clock. "
                    "One that contains 1 "
                    "shows no difference; fewer than {} are not judged. How near the level is: {}.",
                    100 * confidence, metrics::kLeastPrompts, metrics::kCoverageWords));
  add_cells("A/A, the baseline itself: ", names_where(study, [](const ReportCell& cell) { return cell.is_baseline; }),
            ". Where such a row was measured against itself, its distance from 1.00x is what the machine's noise alone "
            "does.");
  for (const ReportCell& cell : study.cells)
    for (const TaskNumbers& task : cell.tasks)
      if (task.unreliable() && (task.task == "overall" || has_tasks(study)))
        out.push_back(fmt::format("{}{}: {}. Its speed-up is no result, and nothing is predicted for it.", cell.name,
                                  task.task == "overall" ? "" : ", " + task.task, task.verdict_words));
  for (const ReportCell& cell : study.cells)
    if (!cell.given.empty())
      out.push_back(fmt::format("Given acceptance: {}: what is accepted was fed to {}; it is recomputed, not measured.",
                                cell.name, cell.given));
  for (const ReportCell& cell : study.cells)
    if (!cell.imported.empty())
      out.push_back(
          fmt::format("Imported: {}: the numbers are those of another program's rows, {}; nothing was run here.",
                      cell.name, cell.imported));
  add_cells("Incomplete, numbers are those of the prompts that were finished if there are any: ",
            names_where(study, [](const ReportCell& cell) { return cell.state == CellState::Incomplete; }),
            ". `foretell run` with the same study goes on from there.");
  for (const ReportCell& cell : study.cells)
    if (cell.state == CellState::Damaged)
      out.push_back(fmt::format(
          "Damaged, numbers are left out: {}: {}. `foretell run` with the same study makes the cell whole again.",
          cell.name, cell.damage));
  add_cells("Missing, never begun in this folder: ",
            names_where(study, [](const ReportCell& cell) { return cell.state == CellState::Missing; }), ".");
  add_cells("Not timed, the target is a recorded answer: ",
            names_where(study, [](const ReportCell& cell) { return !cell.timed; }),
            ". Their times mean nothing and are left out.");
  out.insert(out.end(), study.notes.begin(), study.notes.end());
  for (const ReportCell& cell : study.cells) {
    if (!cell.differences || cell.differences->empty()) continue;
    const auto ties = static_cast<int>(std::count_if(cell.differences->begin(), cell.differences->end(),
                                                     [](const ReportDifference& d) { return d.tie; }));
    const int faults = static_cast<int>(cell.differences->size()) - ties;
    std::string line =
        fmt::format("Same tokens, {}: answers that are not the baseline's although the pipeline is lossless: {}.",
                    cell.name, analysis::divergence_words(ties, faults));
    std::size_t shown = 0;
    for (const bool tie : {false, true})
      for (const ReportDifference& difference : *cell.differences)
        if (difference.tie == tie && shown++ < kNamed) line += " " + difference.words + ".";
    if (shown > kNamed) line += fmt::format(" And {} more.", shown - kNamed);
    out.push_back(line);
  }
  for (const ReportCell& cell : study.cells)
    if (!cell.target_rules.empty())
      out.push_back(fmt::format("Rules of the target, {}: {}: {}.", cell.name, cell.target_rules,
                                study::in_words(cell.keeps.value_or(study::Losslessness{}))));
  std::set<std::string> inflated;
  for (const ReportCell& cell : study.cells)
    for (const auto& [who, from] : cell.inflated)
      inflated.insert(
          fmt::format("The {} is inflated: {}, padded with zeros to a larger shape. Its tokens are the small model's, "
                      "its cost the large one's.",
                      who == "draft" ? "draft model" : who, from));
  out.insert(out.end(), inflated.begin(), inflated.end());
  std::set<std::string> energy;
  for (const ReportCell& cell : study.cells)
    if (!cell.energy_source.empty() && cell.energy_source != "none") energy.insert(cell.energy_source);
  for (const std::string& source : energy) out.push_back(fmt::format("Energy: {}.", source));
  return out;
}

std::string run_command(const StudyFolder& study) {
  return study.file.empty() ? "" : "foretell run " + util::shell_quoted(study.file);
}

}  // namespace foretell::report
