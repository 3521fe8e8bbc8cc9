// A published table of operators on a roofline (LLM-Viewer's), beside what its rules give here.
//
// Contract: a YAML file with `kind: roofline`; any bytes read or are an Error with file:line. A published figure such
// as 69G, 1215.0 or 0.99 is reproduced if ours, rounded to its digits, is the same (".0" is none: the paper prints
// rounded integers so); one that is not is shown with ours.
//
//   kind: roofline
//   title: ...
//   source: {authors: ..., year: 2024, arxiv: "2402.16363", where: Table 1}
//   model: ../models/llama-2-7b.json     # beside the file
//   hardware: nvidia_A6000
//   batch: 1
//   tokens: 2048
//   bits: 16
//   rows: [[prefill, q_proj, q_proj, 69G, 67M, 1024.0, 155T, compute], ...]
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "experiments/tables/survey_table.h"

namespace foretell::tables {

// "69G": 69e9, of which the last digit stands for 1e9.
struct PrintedNumber {
  std::string text;
  double value = 0, unit = 1;
  bool reproduced_by(double ours) const;
};
// An Error at `where` for anything else.
PrintedNumber parse_printed(const ConfigValue& value);

struct RooflineTableRow {
  std::string stage, name, op;
  std::array<PrintedNumber, 4> printed;  // OPs, bytes, intensity, performance
  std::string bound;
};

struct RooflineTable {
  std::filesystem::path file = {};
  std::string title = {}, note = {};
  TableSource source = {};
  std::filesystem::path model = {};
  std::string hardware = {};
  int batch = 1, tokens = 1, bits = 16;
  std::vector<RooflineTableRow> rows = {};
  Location where = {};
};

bool is_roofline_table(const ConfigValue& document);
RooflineTable parse_roofline_table(const ConfigValue& document, const std::filesystem::path& file);

struct ComparedRoofline {
  RooflineTable table;
  std::vector<std::array<double, 4>> ours;  // by row
  std::vector<std::string> bounds;
  bool reproduced(std::size_t row, std::size_t column) const {
    return table.rows[row].printed[column].reproduced_by(ours[row][column]);
  }
  int cells() const { return 5 * static_cast<int>(table.rows.size()); }
  int reproduced_cells() const;
};

// `devices`: the folder of devices. An Error for an operator that such a model does not have.
ComparedRoofline compare_roofline(RooflineTable table, const std::filesystem::path& devices);

std::string to_text(const ComparedRoofline& compared);
std::string to_markdown(const ComparedRoofline& compared);
nlohmann::ordered_json to_json(const ComparedRoofline& compared);

}  // namespace foretell::tables
