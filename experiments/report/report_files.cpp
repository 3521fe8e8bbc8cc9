#include "experiments/report/report_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "experiments/analysis/measures.h"
#include "experiments/util/console.h"
#include "experiments/util/table.h"
#include "framework/core/printable.h"
#include "framework/core/text.h"
#include "framework/core/version.h"

namespace foretell::report {
namespace {

using ReportJson = nlohmann::ordered_json;

constexpr std::size_t kPositionColumns = 32;  // in CSV; JSON has all positions

// Text that a Markdown renderer shows as it is, in one line of a table.
std::string markdown_text(const std::string& text) {
  std::string out;
  for (const char c : printable(text)) {
    if (std::string_view("\\`*[]<>|&~").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

// A code span: its fence is longer than any run of backticks in it.
std::string markdown_code(const std::string& text) {
  const std::string shown = printable(util::one_line(text));
  std::string fence = "`";
  while (shown.find(fence) != std::string::npos) fence += '`';
  const char* blank = shown.starts_with('`') || shown.ends_with('`') ? " " : "";
  return fence + blank + shown + blank + fence;
}

std::string csv_number(const std::optional<double>& value) { return value ? fmt::format("{}", *value) : ""; }

// As a program or a person writes one: -1, +0.5, 1e-05.
bool is_number(std::string_view text) {
  double value = 0;
  if (text.starts_with('+')) text.remove_prefix(1);
  if (text.starts_with('+')) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

std::string csv_line(const std::vector<std::string>& fields) {
  std::string line;
  for (std::size_t i = 0; i < fields.size(); ++i) line += (i ? "," : "") + csv_field(fields[i]);
  return line + "\n";
}

// The settings of all cells, in the order in which they first appear.
std::vector<std::string> setting_paths(const StudyFolder& study) {
  std::vector<std::string> paths;
  std::set<std::string> known;
  for (const ReportCell& cell : study.cells)
    for (const auto& [path, value] : cell.settings)
      if (known.insert(path).second) paths.push_back(path);
  return paths;
}

ReportJson numbers_json(const std::vector<std::optional<double>>& values, std::span<const analysis::Measure> measures) {
  auto out = ReportJson::object();
  for (std::size_t i = 0; i < measures.size(); ++i)
    out[measures[i].name] = values[i] ? ReportJson(*values[i]) : ReportJson(nullptr);
  return out;
}

ReportJson text_or_null(const std::string& text) { return text.empty() ? ReportJson(nullptr) : ReportJson(text); }

ReportJson facts_json(const Facts& facts) {
  auto out = ReportJson::object();
  for (const auto& [what, value] : facts) out[what] = value;
  return out;
}

ReportJson experts_json(const TaskNumbers& task) {
  if (task.experts.empty()) return nullptr;
  auto layers = ReportJson::array(), by_rows = ReportJson::array();
  for (const LayerNumbers& layer : task.experts) {
    ReportJson entry{{"layer", layer.layer}};
    for (const auto& [heading, value] : layer.values) entry[heading] = value ? ReportJson(*value) : ReportJson(nullptr);
    entry["load"] = layer.load;
    layers.push_back(std::move(entry));
  }
  for (const TouchedNumbers& of : task.touched)
    by_rows.push_back({{"rows", of.rows}, {"rounds", of.rounds}, {"touched", of.touched}, {"uniform", of.uniform}});
  return {{"layers", layers}, {"by_rows", by_rows}};
}

ReportJson task_json(const TaskNumbers& task) {
  ReportJson out = numbers_json(task.values, analysis::task_measures());
  out["verdict"] = text_or_null(task.verdict);
  out["verdict_words"] = text_or_null(task.verdict_words);
  out["speedup_units"] = text_or_null(task.units);
  out["speedup_no_interval"] = text_or_null(task.no_interval);
  out["acceptance_rate_per_position"] = task.acceptance_rate_per_position;
  out["conditional_acceptance_per_position"] = task.conditional_acceptance_per_position;
  auto depths = ReportJson::object();
  for (const DepthCounts& counts : task.by_depth) depths[std::to_string(counts.depth)] = counts.rounds;
  out["acceptance_histogram_by_depth"] = depths;
  out["experts"] = experts_json(task);
  return out;
}

ReportJson differences_json(const ReportCell& cell) {
  if (!cell.differences) return nullptr;
  auto out = ReportJson::array();
  for (const ReportDifference& d : *cell.differences)
    out.push_back({{"task", d.task}, {"tie", d.tie}, {"words", d.words}});
  return out;
}

ReportJson keeps_json(const ReportCell& cell) {
  if (!cell.keeps) return nullptr;
  return {{"target", cell.keeps->towards_target}, {"checkpoint", cell.keeps->towards_checkpoint}};
}

ReportJson cell_json(const ReportCell& cell) {
  auto tasks = ReportJson::object();
  for (const TaskNumbers& task : cell.tasks) tasks[task.task] = task_json(task);
  ReportJson out = {{"name", cell.name},
                    {"hash", cell.hash},
                    {"state", name_of(cell.state)},
                    {"is_baseline", cell.is_baseline},
                    {"timed", cell.timed},
                    {"given_acceptance", text_or_null(cell.given)},
                    {"imported_from", text_or_null(cell.imported)},
                    {"settings", facts_json(cell.settings)},
                    {"started", text_or_null(cell.started)},
                    {"lossless", cell.lossless ? ReportJson(*cell.lossless) : ReportJson(nullptr)},
                    {"keeps_distribution_of", keeps_json(cell)},
                    {"target_rules", text_or_null(cell.target_rules)},
                    {"differences", differences_json(cell)},
                    {"reason", text_or_null(cell.reason)},
                    {"energy_source", text_or_null(cell.energy_source)},
                    {"inflated_from", facts_json(cell.inflated)},
                    {"tasks", tasks}};
  out.update(numbers_json(cell.values, analysis::cell_measures()));
  return out;
}

ReportJson measures_json(std::span<const analysis::Measure> measures) {
  auto out = ReportJson::object();
  for (const analysis::Measure& measure : measures)
    out[measure.name] = {
        {"heading", measure.heading}, {"format", name_of(measure.format)}, {"in_table", name_of(measure.in_table)}};
  return out;
}

}  // namespace

std::string aligned(const ReportTable& table) {
  // A cell with several tasks is a title with its tasks below, as at the end of a run: the names are long.
  const bool titled = table.headings.size() > 1 && table.headings[0] == "<cell" && table.headings[1] == "<task";
  util::Table out(std::vector<std::string>(table.headings.begin() + titled, table.headings.end()));
  std::string last;
  for (std::vector<std::string> row : table.rows) {
    for (std::string& cell : row) cell = printable(cell);
    if (titled) {
      if (row[0] != last) out.add_title(row[0]);
      last = row[0];
      row.erase(row.begin());
      row[0] = "  " + row[0];
    }
    out.add(std::move(row));
  }
  return out.to_string();
}

std::string markdown_table(const ReportTable& table) {
  std::string heading = "|", rule = "|", out;
  for (const std::string& text : table.headings) {
    const bool left = text.front() == '<';
    heading += fmt::format(" {} |", markdown_text(left ? text.substr(1) : text));
    rule += left ? " :-- |" : " --: |";
  }
  for (const auto& row : table.rows) {
    out += "|";
    for (const std::string& text : row) out += fmt::format(" {} |", markdown_text(text));
    out += "\n";
  }
  return heading + "\n" + rule + "\n" + out;
}

std::string csv_field(const std::string& text) {
  std::string safe = printable_lines(text);
  // Spreadsheets take such a field for a formula, and obey it; an apostrophe says that it is text.
  const bool is_formula =
      !safe.empty() && std::string_view("=+-@\t\n").find(safe.front()) != std::string_view::npos && !is_number(safe);
  if (is_formula) safe.insert(0, "'");
  const bool plain =
      safe.find_first_of(",\"\n") == std::string::npos && (safe.empty() || (safe.front() != ' ' && safe.back() != ' '));
  if (plain) return safe;
  std::string out = "\"";
  for (const char c : safe) out += c == '"' ? "\"\"" : std::string(1, c);
  return out + "\"";
}

std::string report_text(const StudyFolder& study) {
  std::string out = aligned(results_rows(study));
  if (const ReportTable predicted = predicted_rows(study); !predicted.empty())
    out += "\nMeasured decode speed-up beside what acceptance and the measured cost of rows predict:\n\n" +
           aligned(predicted);
  if (const ReportTable experts = expert_rows(study); !experts.empty())
    out += "\nExperts of each layer, by round and over the run:\n\n" + aligned(experts) +
           "\nDistinct experts by the number of rows that were scored:\n\n" + aligned(touched_rows(study));
  out += "\n";
  for (const auto& [cell, reason] : reasons(study)) out += printable(cell) + ": " + printable(reason) + "\n";
  for (const std::string& note : notes(study)) out += printable(note) + "\n";
  return out;
}

std::string report_markdown(const StudyFolder& study) {
  std::string out = fmt::format("# {}\n\n", markdown_text(study.study));
  if (!study.description.empty()) out += markdown_text(study.description) + "\n\n";
  const auto complete = std::count_if(study.cells.begin(), study.cells.end(),
                                      [](const ReportCell& cell) { return cell.state == CellState::Complete; });
  out += fmt::format("Complete: {} of {}.\n\n## Results\n\n{}\n", complete, counted(study.cells.size(), "cell"),
                     markdown_table(results_rows(study)));
  const Facts words = reasons(study);
  if (!words.empty()) out += "## Reasons\n\n";
  for (const auto& [cell, reason] : words)
    out += fmt::format("- **{}**: {}\n", markdown_text(cell), markdown_text(reason));
  if (!words.empty()) out += "\n";
  if (const ReportTable predicted = predicted_rows(study); !predicted.empty())
    out += fmt::format("## Predicted beside measured\n\n{}\n", markdown_table(predicted));
  if (const ReportTable depths = depth_rows(study); !depths.empty())
    out += fmt::format("## Accepted, by depth of the draft\n\nShares of the rounds whose draft was so deep.\n\n{}\n",
                       markdown_table(depths));
  if (const ReportTable experts = expert_rows(study); !experts.empty())
    out += fmt::format(
        "## Experts\n\nDistinct experts of a layer in a round beside what uniform routing of as many rows would touch; "
        "the "
        "load of the whole run.\n\n{}\nBy the number of rows that were scored, over all layers:\n\n{}\n"
        "The load of each expert in units of its layer's mean:\n\n{}\n",
        markdown_table(experts), markdown_table(touched_rows(study)), markdown_table(load_rows(study)));
  out += "## Machine\n\n";
  ReportTable machine{.headings = {"<what", "<value"}};
  for (const auto& [what, value] : machine_facts(study)) machine.rows.push_back({what, value});
  out += machine.empty() ? "No cell has a manifest.\n\n" : markdown_table(machine) + "\n";
  if (const std::string command = run_command(study); !command.empty())
    out += fmt::format("Made by {}; what `--set` has changed stands in each cell's `config.resolved.yaml`.\n\n",
                       markdown_code(command));
  out += "## Notes\n\n";
  for (const std::string& note : notes(study)) out += fmt::format("- {}\n", markdown_text(note));
  return out;
}

std::string report_csv(const StudyFolder& study) {
  std::vector<std::string> columns = {"study", "cell", "hash", "state", "is_baseline", "timed", "task"};
  const std::vector<std::string> settings = setting_paths(study);
  const auto tasks = analysis::task_measures(), cells = analysis::cell_measures();
  std::size_t positions = 0;
  for (const ReportCell& cell : study.cells)
    for (const TaskNumbers& task : cell.tasks)
      positions = std::max(positions, task.acceptance_rate_per_position.size());
  positions = std::min(positions, kPositionColumns);
  std::vector<std::string> numbers;
  for (const analysis::Measure& measure : tasks) numbers.emplace_back(measure.name);
  numbers.insert(numbers.end(), {"verdict", "verdict_words", "speedup_units", "speedup_no_interval"});
  for (std::size_t i = 1; i <= positions; ++i) numbers.push_back(fmt::format("acceptance_rate_at_{}", i));
  for (std::size_t i = 1; i <= positions; ++i) numbers.push_back(fmt::format("conditional_acceptance_at_{}", i));
  for (const analysis::Measure& measure : cells) numbers.emplace_back(measure.name);
  numbers.insert(numbers.end(), {"reason", "energy_source", "given_acceptance", "imported_from"});
  // A setting never takes the name of another column.
  for (const std::string& path : settings) {
    const bool taken = std::find(columns.begin(), columns.end(), path) != columns.end() ||
                       std::find(numbers.begin(), numbers.end(), path) != numbers.end();
    columns.push_back(taken ? "setting." + path : path);
  }
  columns.insert(columns.end(), numbers.begin(), numbers.end());
  std::string out = csv_line(columns);
  for (const ReportCell& cell : study.cells) {
    const std::map<std::string, std::string> values(cell.settings.begin(), cell.settings.end());
    const TaskNumbers none{.values = std::vector<std::optional<double>>(tasks.size())};
    const auto add = [&](const TaskNumbers& task) {
      std::vector<std::string> fields = {study.study,
                                         cell.name,
                                         cell.hash,
                                         name_of(cell.state),
                                         cell.is_baseline ? "true" : "false",
                                         cell.timed ? "true" : "false",
                                         task.task};
      for (const std::string& path : settings) fields.push_back(values.count(path) ? values.at(path) : "");
      for (const auto& value : task.values) fields.push_back(csv_number(value));
      fields.insert(fields.end(), {task.verdict, task.verdict_words, task.units, task.no_interval});
      for (const auto* rates : {&task.acceptance_rate_per_position, &task.conditional_acceptance_per_position})
        for (std::size_t i = 0; i < positions; ++i) fields.push_back(i < rates->size() ? csv_number((*rates)[i]) : "");
      for (const auto& value : cell.values) fields.push_back(csv_number(value));
      fields.insert(fields.end(), {cell.reason, cell.energy_source, cell.given, cell.imported});
      out += csv_line(fields);
    };
    if (cell.tasks.empty()) add(none);
    for (const TaskNumbers& task : cell.tasks) add(task);
  }
  return out;
}

ReportJson report_json(const StudyFolder& study) {
  auto cells = ReportJson::array();
  for (const ReportCell& cell : study.cells) cells.push_back(cell_json(cell));
  return {{"study", study.study},
          {"description", text_or_null(study.description)},
          {"command", text_or_null(run_command(study))},
          {"reported_by", fmt::format("foretell {}", version())},
          {"machine", facts_json(machine_facts(study))},
          {"notes", notes(study)},
          {"measures",
           {{"task", measures_json(analysis::task_measures())}, {"cell", measures_json(analysis::cell_measures())}}},
          {"cells", cells}};
}

std::string exported_json(const ReportJson& json) {
  const auto written = [&](bool ascii) {
    return json.dump(2, ' ', ascii, nlohmann::json::error_handler_t::replace) + "\n";
  };
  const std::string text = written(false);
  return printable_lines(text) == text ? text : written(true);
}

}  // namespace foretell::report
