// A published table as data: its figures with their source, and where each number comes from here.
//
// Contract: load_survey_table() reads the whole file; an unknown key, a missing reason or a row that names no cell for
// a column that needs one is an Error with file:line. Studies are named, not read. docs/guide/tables.md has the format.
//
//   title: a leaderboard
//   source:  {authors: A and B, year: 2024, arxiv: "2401.00001", where: Table 5}
//   setting: {model: Vicuna-7B, hardware: one GPU, temperature: 0, dtype: fp16, counting: tokens a round, the target's
//   own included} tie: 0.05                                    # optional: shares by which two speeds must differ to be
//   ordered studies:
//     recorded: {study: ../studies/specbench_drafters.yaml, setting: what runs here}
//   columns:
//     - {name: tau, study: recorded, task: overall, metric: mean_acceptance_length, compare: value, tolerance: 0.02}
//     - {name: training, compare: none, because: nothing is trained here}
//   rows:
//     - name: PLD
//       published: [1.73, null]                  # one a column: a number, a range [low, high], or null
//       measured: {recorded: {pipeline.drafter: {type: prompt_lookup}}}    # the values that the study's sweep gives
//       this cell
//     - {name: other, published: [2.5, 7], not_comparable: why}            # of the row, or {column: why}; may_differ
//     likewise
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "experiments/tables/survey_table_verdict.h"
#include "framework/core/config_value.h"
#include "framework/core/parameters.h"

namespace foretell::tables {

struct TableSource {
  std::string authors, where;
  int year = 0;
  std::optional<std::string> arxiv = {}, link = {};
  void declare(Parameters& p);
  std::string to_string() const;  // "A and B 2024, arXiv 2401.00001, Table 5"
};

struct TableSetting {
  std::string model, hardware, counting;
  std::optional<std::string> temperature = {}, dtype = {};  // not stated everywhere
  void declare(Parameters& p);
  std::string to_string() const;
};

struct TableStudy {
  std::string name = {};
  std::filesystem::path file = {};
  std::string setting = {};  // what its numbers were measured on, in words
};

struct TableColumn {
  std::string name = {};
  std::string study = {}, task = {}, metric = {};  // empty: nothing is measured for it
  CellComparison how = {};
  Location where = {};
};

struct TableRow {
  std::string name = {};
  std::vector<std::optional<Published>> published = {};  // one a column
  std::vector<CellComparison> how = {};                  // one a column
  std::map<std::string, ConfigValue> measured = {};      // study -> the sweep's values of a cell
};

struct SurveyTable {
  std::filesystem::path file = {};
  std::string title = {};
  std::string note = {};
  TableSource source = {};
  TableSetting setting = {};
  double tie = 0;  // [1]
  std::vector<TableStudy> studies = {};
  std::vector<TableColumn> columns = {};
  std::vector<TableRow> rows = {};

  const TableStudy& study(const std::string& name) const;
};

SurveyTable load_survey_table(const std::filesystem::path& file);

// The tables of a folder, by name.
std::map<std::string, std::filesystem::path> survey_tables(const std::filesystem::path& folder);

}  // namespace foretell::tables
