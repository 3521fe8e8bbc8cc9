#include "experiments/tables/survey_table_report.h"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <utility>

#include "experiments/report/report_files.h"
#include "experiments/util/table.h"
#include "framework/core/text.h"

namespace foretell::tables {
namespace {

constexpr std::array kVerdicts = {CellVerdict::Reproduced, CellVerdict::SameOrder,     CellVerdict::Recomputed,
                                  CellVerdict::Differs,    CellVerdict::NotComparable, CellVerdict::NotMeasured};

char mark_of(CellVerdict verdict) { return "=~^!x?"[static_cast<int>(verdict)]; }

std::string published_text(const std::optional<Published>& published) { return published ? published->text : "-"; }

std::string shown_here(const ComparedTable& compared, std::size_t column, std::size_t row) {
  const MeasuredNumber& number = compared.measured[column][row];
  const std::string value = number.value ? fmt::format("{:.2f}", *number.value) : "-";
  const auto& verdict = compared.judged[column].cells[row].verdict;
  return fmt::format("{} {}", value, verdict ? mark_of(*verdict) : ' ');
}

std::string legend(const ComparedTable& compared) {
  std::array<int, kVerdicts.size()> counts = {};
  for (const JudgedColumn& column : compared.judged)
    for (const JudgedCell& cell : column.cells)
      if (cell.verdict) ++counts[static_cast<int>(*cell.verdict)];
  std::vector<std::string> parts;
  parts.reserve(std::size(kVerdicts));
  for (const CellVerdict verdict : kVerdicts)
    parts.push_back(fmt::format("{} {}: {}", mark_of(verdict), name_of(verdict), counts[static_cast<int>(verdict)]));
  return fmt::format("{}", fmt::join(parts, ", "));
}

// The cells that share a verdict and a reason: a row's columns together, and rows with the same columns together.
struct SharedReason {
  CellVerdict verdict;
  std::string reason;
  std::vector<std::pair<std::string, std::vector<std::string>>> rows = {};  // name, columns

  std::string cells(std::size_t all_rows, std::size_t all_columns) const {
    std::vector<std::pair<std::vector<std::string>, std::vector<std::string>>> groups;  // rows, columns
    for (const auto& [row, columns] : rows) {
      const auto it = std::find_if(groups.begin(), groups.end(),
                                   [&, &wanted = columns](const auto& g) { return g.second == wanted; });
      if (it == groups.end())
        groups.push_back({{row}, columns});
      else
        it->first.push_back(row);
    }
    std::vector<std::string> words;
    words.reserve(groups.size());
    for (const auto& [names, columns] : groups)
      words.push_back(
          fmt::format("{} in {}", names.size() == all_rows ? "all rows" : fmt::format("{}", fmt::join(names, ", ")),
                      columns.size() == all_columns ? "all columns" : fmt::format("{}", fmt::join(columns, ", "))));
    return fmt::format("{}", fmt::join(words, "; "));
  }
};

std::vector<SharedReason> reasons_of(const ComparedTable& compared) {
  std::vector<SharedReason> out;
  const SurveyTable& table = compared.table;
  for (const CellVerdict verdict : kVerdicts)
    for (std::size_t r = 0; r < table.rows.size(); ++r)
      for (std::size_t c = 0; c < table.columns.size(); ++c) {
        const JudgedCell& cell = compared.judged[c].cells[r];
        if (cell.verdict != verdict || verdict == CellVerdict::Reproduced) continue;
        auto it = std::find_if(out.begin(), out.end(),
                               [&](const SharedReason& s) { return s.verdict == verdict && s.reason == cell.reason; });
        if (it == out.end()) it = out.insert(out.end(), {verdict, cell.reason});
        if (it->rows.empty() || it->rows.back().first != table.rows[r].name)
          it->rows.push_back({table.rows[r].name, {}});
        it->rows.back().second.push_back(table.columns[c].name);
      }
  return out;
}

std::vector<std::string> reason_lines(const ComparedTable& compared) {
  std::vector<std::string> out;
  for (const SharedReason& shared : reasons_of(compared))
    out.push_back(fmt::format("{}: {}: {}", name_of(shared.verdict),
                              shared.cells(compared.table.rows.size(), compared.table.columns.size()), shared.reason));
  return out;
}

std::string pair_words(const JudgedColumn& column) {
  const int pairs = column.agreeing + column.disagreeing;
  return pairs ? fmt::format("{} of {} of rows stand in the published order", column.agreeing, counted(pairs, "pair"))
               : "no pair of rows can be ordered";
}

// "Kendall's tau 0.67", or why there is none.
std::string correlation_words(const JudgedColumn& column) {
  if (column.kendall_tau) return fmt::format("Kendall's tau {:.2f}", *column.kendall_tau);
  return fmt::format("no rank correlation below {} pairs", kLeastPairs);
}

std::vector<std::string> order_lines(const ComparedTable& compared) {
  std::vector<std::string> out;
  for (std::size_t c = 0; c < compared.judged.size(); ++c)
    if (const JudgedColumn& column = compared.judged[c]; column.by_order)
      out.push_back(
          fmt::format("{}: {}, {}", compared.table.columns[c].name, pair_words(column), correlation_words(column)));
  if (!out.empty())
    out.push_back(
        fmt::format("left out: pairs within {:g}% of one another, and pairs whose ranges or 95% intervals overlap",
                    100 * compared.table.tie));
  return out;
}

std::vector<std::string> setting_lines(const SurveyTable& table) {
  std::vector<std::string> out = {"published: " + table.source.to_string(), "on: " + table.setting.to_string()};
  for (const TableStudy& study : table.studies)
    out.push_back(fmt::format("here, {}: {} ({})", study.name, study.setting, study.file.string()));
  if (!table.note.empty()) out.push_back(table.note);
  return out;
}

std::string cell_of_markdown(std::string text) {
  for (std::size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2) text.insert(at, 1, '\\');
  return text;
}

template <class Visit>
void for_each_cell(const ComparedTable& compared, const Visit& visit) {
  for (std::size_t r = 0; r < compared.table.rows.size(); ++r)
    for (std::size_t c = 0; c < compared.table.columns.size(); ++c)
      visit(compared.table.rows[r], r, compared.table.columns[c], c, compared.measured[c][r],
            compared.judged[c].cells[r]);
}

std::string list_of(const std::vector<std::string>& lines, const char* bullet) {
  std::string out;
  for (const std::string& line : lines) out += bullet + line + "\n";
  return out;
}

nlohmann::ordered_json published_json(const std::optional<Published>& published) {
  if (!published) return nullptr;
  if (published->low == published->high) return published->low;
  return nlohmann::ordered_json::array({published->low, published->high});
}

nlohmann::ordered_json number_json(const std::optional<double>& value) {
  return value ? nlohmann::ordered_json(*value) : nullptr;
}

}  // namespace

ComparedTable compare_with(const SurveyTable& table, const MeasuredStudies& studies) {
  ComparedTable out{.table = table, .measured = {}, .judged = {}};
  for (std::size_t c = 0; c < table.columns.size(); ++c) {
    std::vector<MeasuredNumber> numbers;
    std::vector<ComparedCell> cells;
    for (const TableRow& row : table.rows) {
      numbers.push_back(studies.find(row, table.columns[c]));
      const MeasuredNumber& number = numbers.back();
      cells.push_back({row.name, row.published[c], number.value, number.interval, row.how[c], number.missing,
                       number.given, number.doubt, number.unsure});
    }
    out.measured.push_back(std::move(numbers));
    out.judged.push_back(judge_column(cells, table.tie));
  }
  return out;
}

bool all_reproduced(const ComparedTable& compared) {
  bool all = true;
  for_each_cell(compared, [&](const TableRow& row, std::size_t, const TableColumn&, std::size_t c,
                              const MeasuredNumber&, const JudgedCell& cell) {
    if (row.published[c] && row.how[c].compare == Compare::Value) all = all && cell.within;
  });
  return all;
}

std::string to_text(const ComparedTable& compared) {
  const SurveyTable& table = compared.table;
  std::vector<std::string> headings = {"<method"};
  for (const TableColumn& column : table.columns) headings.insert(headings.end(), {column.name, "here  "});
  util::Table grid(headings);
  for (std::size_t r = 0; r < table.rows.size(); ++r) {
    std::vector<std::string> cells = {table.rows[r].name};
    for (std::size_t c = 0; c < table.columns.size(); ++c)
      cells.insert(cells.end(), {published_text(table.rows[r].published[c]), shown_here(compared, c, r)});
    grid.add(cells);
  }
  std::string out =
      table.title + "\n" + list_of(setting_lines(table), "") + "\n" + grid.to_string() + "\n" + legend(compared) + "\n";
  if (const auto lines = order_lines(compared); !lines.empty()) out += "\n" + list_of(lines, "");
  if (const auto lines = reason_lines(compared); !lines.empty()) out += "\n" + list_of(lines, "");
  return out;
}

std::string to_markdown(const ComparedTable& compared) {
  const SurveyTable& table = compared.table;
  std::string out = fmt::format("## {}\n\n{}\n| method |", table.title, list_of(setting_lines(table), "- "));
  std::string rule = "\n|---|";
  for (const TableColumn& column : table.columns) {
    out += fmt::format(" {} | here |", cell_of_markdown(column.name));
    rule += "---|---|";
  }
  out += rule;
  for (std::size_t r = 0; r < table.rows.size(); ++r) {
    out += fmt::format("\n| {} |", cell_of_markdown(table.rows[r].name));
    for (std::size_t c = 0; c < table.columns.size(); ++c)
      out += fmt::format(" {} | {} |", published_text(table.rows[r].published[c]), shown_here(compared, c, r));
  }
  return out + "\n\n" + legend(compared) + "\n\n" + list_of(order_lines(compared), "- ") +
         list_of(reason_lines(compared), "- ");
}

std::string to_csv(const ComparedTable& compared) {
  std::string out = "row,column,published_low,published_high,measured,verdict,reason\n";
  for_each_cell(compared, [&](const TableRow& row, std::size_t, const TableColumn& column, std::size_t c,
                              const MeasuredNumber& number, const JudgedCell& cell) {
    const auto& published = row.published[c];
    out += fmt::format("{},{},{},{},{},{},{}\n", report::csv_field(row.name), report::csv_field(column.name),
                       published ? fmt::format("{}", published->low) : "",
                       published ? fmt::format("{}", published->high) : "",
                       number.value ? fmt::format("{}", *number.value) : "", cell.verdict ? name_of(*cell.verdict) : "",
                       report::csv_field(cell.reason));
  });
  return out;
}

nlohmann::ordered_json to_json(const ComparedTable& compared) {
  auto cells = nlohmann::ordered_json::array(), order = nlohmann::ordered_json::array();
  for_each_cell(compared, [&](const TableRow& row, std::size_t, const TableColumn& column, std::size_t c,
                              const MeasuredNumber& number, const JudgedCell& cell) {
    cells.push_back(
        {{"row", row.name},
         {"column", column.name},
         {"published", published_json(row.published[c])},
         {"measured", number_json(number.value)},
         {"interval",
          number.interval ? nlohmann::ordered_json::array({number.interval->low, number.interval->high}) : nullptr},
         {"metric", column.metric.empty() ? nullptr : nlohmann::ordered_json(column.metric)},
         {"declared_reproducible", row.published[c] && row.how[c].compare == Compare::Value},
         {"verdict", cell.verdict ? nlohmann::ordered_json(std::string(name_of(*cell.verdict))) : nullptr},
         {"reason", cell.reason.empty() ? nullptr : nlohmann::ordered_json(cell.reason)},
         {"given", number.given.empty() ? nullptr : nlohmann::ordered_json(number.given)}});
  });
  for (std::size_t c = 0; c < compared.judged.size(); ++c)
    if (const JudgedColumn& column = compared.judged[c]; column.by_order)
      order.push_back({{"column", compared.table.columns[c].name},
                       {"agreeing", column.agreeing},
                       {"disagreeing", column.disagreeing},
                       {"kendall_tau", number_json(column.kendall_tau)},
                       {"words", correlation_words(column)}});
  return {{"table", compared.table.file.stem().string()},
          {"title", compared.table.title},
          {"source", compared.table.source.to_string()},
          {"setting", compared.table.setting.to_string()},
          {"cells", cells},
          {"order", order}};
}

}  // namespace foretell::tables
