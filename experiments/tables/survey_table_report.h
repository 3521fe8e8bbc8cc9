// A published table with what was measured here beside it.
//
// Contract: compare_with() judges every cell; the writers are pure. Every verdict but "reproduced" comes with its
// reason in words, once for all the cells that share it.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

#include "experiments/tables/survey_table.h"
#include "experiments/tables/survey_table_measured.h"

namespace foretell::tables {

struct ComparedTable {
  const SurveyTable& table;
  std::vector<std::vector<MeasuredNumber>> measured;  // [column][row]
  std::vector<JudgedColumn> judged;                   // one a column
};

ComparedTable compare_with(const SurveyTable& table, const MeasuredStudies& studies);

// Whether every cell that is declared reproducible is within its tolerance; one that was not measured is not. One that
// was recomputed from a record is held to its tolerance as well, because that is arithmetic that must come out, and
// counts as reproduced nowhere.
bool all_reproduced(const ComparedTable& compared);

std::string to_text(const ComparedTable& compared);
std::string to_markdown(const ComparedTable& compared);
std::string to_csv(const ComparedTable& compared);  // one line a cell
nlohmann::ordered_json to_json(const ComparedTable& compared);

}  // namespace foretell::tables
