#include "experiments/tables/roofline_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "experiments/analysis/roofline.h"
#include "experiments/util/table.h"
#include "framework/core/error.h"

namespace foretell::tables {
namespace {

constexpr std::array kFigureNames = {"OPs", "bytes", "OPs/B", "OP/s"};
constexpr std::size_t kRowEntries = 8;

struct RooflineDocument {
  std::string kind, title, note, model, hardware;
  int batch = 1, tokens = 1, bits = 16;
  ConfigValue source, rows;
  void declare(Parameters& p) {
    p.add("kind", kind, "roofline", {.choices = {"roofline"}, .required = true});
    p.add("title", title, "what the table shows", {.required = true});
    p.add("note", note, "what one has to know to read it");
    p.add("source", source, "who published it, and where", {.required = true});
    p.add("model", model, "a folder or config.json, beside this file", {.required = true});
    p.add("hardware", hardware, "one of configs/hardware", {.required = true});
    p.add("batch", batch, "sequences", {.min = 1, .max = 1 << 20});
    p.add("tokens", tokens, "of a prompt, and in the cache of a step", {.min = 1, .max = 1 << 24, .required = true});
    p.add("bits", bits, "of weights, activations and KV cache", {.min = 4, .max = 32});
    p.add("rows", rows, "[stage, name, operator, OPs, bytes, intensity, performance, bound]", {.required = true});
  }
};

std::string one_of(const ConfigValue& value, const char* what, std::initializer_list<const char*> known) {
  std::string text = read_text(value, what);
  if (std::find(known.begin(), known.end(), text) != known.end()) return text;
  fail_at(value.where(), "{}: found '{}', expected {}", what, text, fmt::join(known, " or "));
}

RooflineTableRow parse_row(const ConfigValue& value) {
  if (!value.is_list() || value.items().size() != kRowEntries)
    fail_at(value.where(),
            "rows: expected lists of {}: stage, name, operator, OPs, bytes, intensity, performance, bound",
            kRowEntries);
  const auto& items = value.items();
  RooflineTableRow row{.stage = one_of(items[0], "stage", {"prefill", "decode"}),
                       .name = read_text(items[1], "name"),
                       .op = read_text(items[2], "operator"),
                       .printed = {},
                       .bound = one_of(items[7], "bound", {"memory", "compute"})};
  for (std::size_t i = 0; i < row.printed.size(); ++i) row.printed[i] = parse_printed(items[3 + i]);
  return row;
}

std::string shown_figure(const ComparedRoofline& compared, std::size_t row, std::size_t column) {
  const std::string& printed = compared.table.rows[row].printed[column].text;
  if (compared.reproduced(row, column)) return printed;
  return fmt::format("{} (here {})", printed, analysis::short_number(compared.ours[row][column]));
}

std::string shown_bound(const ComparedRoofline& compared, std::size_t row) {
  const std::string& printed = compared.table.rows[row].bound;
  return compared.bounds[row] == printed ? printed : fmt::format("{} (here {})", printed, compared.bounds[row]);
}

bool row_reproduced(const ComparedRoofline& compared, std::size_t row) {
  for (std::size_t column = 0; column < kFigureNames.size(); ++column)
    if (!compared.reproduced(row, column)) return false;
  return compared.bounds[row] == compared.table.rows[row].bound;
}

std::vector<std::string> cells_of(const ComparedRoofline& compared, std::size_t row) {
  const RooflineTableRow& of = compared.table.rows[row];
  std::vector<std::string> cells = {of.stage, of.name};
  for (std::size_t column = 0; column < kFigureNames.size(); ++column)
    cells.push_back(shown_figure(compared, row, column));
  cells.push_back(shown_bound(compared, row));
  cells.emplace_back(row_reproduced(compared, row) ? "reproduced" : "differs");
  return cells;
}

std::string closing(const ComparedRoofline& compared) {
  return fmt::format("{} of {} figures reproduced; {}\n", compared.reproduced_cells(), compared.cells(),
                     compared.table.source.to_string());
}

}  // namespace

bool PrintedNumber::reproduced_by(double ours) const {
  // Half a unit of the last digit, and what binary fractions add to it.
  return std::abs(ours - value) <= unit / 2 * (1 + 1e-9);
}

PrintedNumber parse_printed(const ConfigValue& value) {
  static constexpr std::string_view kPrefixes = "KMGTP";
  const std::string text = read_text(value, "figure");
  std::string digits = text;
  double scale = 1;
  if (!digits.empty())
    if (const std::size_t prefix = kPrefixes.find(digits.back()); prefix != std::string_view::npos) {
      scale = std::pow(1000, static_cast<double>(prefix) + 1);
      digits.pop_back();
    }
  const std::size_t point = digits.find('.');
  const bool good = !digits.empty() && digits.size() <= 12 && digits.front() != '.' && digits.back() != '.' &&
                    std::count(digits.begin(), digits.end(), '.') <= 1 &&
                    digits.find_first_not_of("0123456789.") == std::string::npos;
  if (!good) fail_at(value.where(), "found '{}', expected a figure such as 69G, 1215.0 or 0.99", text);
  // Whole numbers are printed with ".0".
  const bool whole = point == std::string::npos || digits.find_first_not_of('0', point + 1) == std::string::npos;
  const double decimals = whole ? 0 : static_cast<double>(digits.size() - point - 1);
  return {.text = text, .value = std::stod(digits) * scale, .unit = scale * std::pow(10, -decimals)};
}

bool is_roofline_table(const ConfigValue& document) {
  const ConfigValue* kind = document.is_map() ? document.find("kind") : nullptr;
  return kind && kind->is_scalar() && kind->text() == "roofline";
}

RooflineTable parse_roofline_table(const ConfigValue& document, const std::filesystem::path& file) {
  RooflineDocument read;
  Parameters::read(document, "the table", read);
  RooflineTable table{.file = file,
                      .title = read.title,
                      .note = read.note,
                      .model = file.parent_path() / read.model,
                      .hardware = read.hardware,
                      .batch = read.batch,
                      .tokens = read.tokens,
                      .bits = read.bits,
                      .where = document.where()};
  Parameters::read(read.source, "source", table.source);
  if (!read.rows.is_list() || read.rows.items().empty())
    fail_at(read.rows.where(), "rows: expected a list with an entry");
  for (const ConfigValue& row : read.rows.items()) table.rows.push_back(parse_row(row));
  return table;
}

int ComparedRoofline::reproduced_cells() const {
  int count = 0;
  for (std::size_t row = 0; row < table.rows.size(); ++row) {
    for (std::size_t column = 0; column < kFigureNames.size(); ++column) count += reproduced(row, column);
    count += bounds[row] == table.rows[row].bound;
  }
  return count;
}

ComparedRoofline compare_roofline(RooflineTable table, const std::filesystem::path& devices) {
  const formats::ModelConfig model = analysis::load_described_model(table.model);
  const auto hardware = cost::operators::load_hardware(table.hardware, devices);
  const analysis::Roofline roofline =
      analysis::roofline_of(model, hardware,
                            {.llm_viewer = true,
                             .precision = {.weights = table.bits, .activations = table.bits, .cache = table.bits},
                             .batch = table.batch,
                             .tokens = table.tokens});
  ComparedRoofline out{.table = std::move(table), .ours = {}, .bounds = {}};
  for (const RooflineTableRow& row : out.table.rows) {
    const auto& operators = (row.stage == "prefill" ? roofline.prefill : roofline.decode).operators;
    const auto found =
        std::find_if(operators.begin(), operators.end(), [&](const auto& cost) { return cost.work.name == row.op; });
    if (found == operators.end())
      fail("{}: row '{}': the model has no operator '{}'", out.table.file.string(), row.name, row.op);
    out.ours.push_back({found->work.operations, found->work.memory_access(), found->intensity, found->performance});
    out.bounds.emplace_back(name_of(found->bound));
  }
  return out;
}

std::string to_text(const ComparedRoofline& compared) {
  util::Table table(
      {"<stage", "<layer", kFigureNames[0], kFigureNames[1], kFigureNames[2], kFigureNames[3], "<bound", "<verdict"});
  for (std::size_t row = 0; row < compared.table.rows.size(); ++row) table.add(cells_of(compared, row));
  return compared.table.title + "\n" + table.to_string() + closing(compared);
}

std::string to_markdown(const ComparedRoofline& compared) {
  std::string text = fmt::format("| stage | layer | {} | bound | verdict |\n|---|---|---|---|---|---|---|---|\n",
                                 fmt::join(kFigureNames, " | "));
  for (std::size_t row = 0; row < compared.table.rows.size(); ++row)
    text += fmt::format("| {} |\n", fmt::join(cells_of(compared, row), " | "));
  return text + "\n" + closing(compared);
}

nlohmann::ordered_json to_json(const ComparedRoofline& compared) {
  nlohmann::ordered_json json{{"title", compared.table.title},
                              {"source", compared.table.source.to_string()},
                              {"figures", compared.cells()},
                              {"reproduced", compared.reproduced_cells()},
                              {"rows", nlohmann::ordered_json::array()}};
  for (std::size_t row = 0; row < compared.table.rows.size(); ++row) {
    const RooflineTableRow& of = compared.table.rows[row];
    nlohmann::ordered_json entry{{"stage", of.stage}, {"layer", of.name}};
    for (std::size_t column = 0; column < kFigureNames.size(); ++column)
      entry[kFigureNames[column]] = {{"published", of.printed[column].text},
                                     {"here", compared.ours[row][column]},
                                     {"verdict", compared.reproduced(row, column) ? "reproduced" : "differs"}};
    entry["bound"] = {{"published", of.bound},
                      {"here", compared.bounds[row]},
                      {"verdict", compared.bounds[row] == of.bound ? "reproduced" : "differs"}};
    json["rows"].push_back(std::move(entry));
  }
  return json;
}

}  // namespace foretell::tables
