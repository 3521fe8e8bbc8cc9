// What a report says about a study, before it is written in any format.
//
// Contract: pure. A number that does not exist is "-". Rows that a report leaves out for their number are counted in a
// note.
#pragma once

#include <string>
#include <vector>

#include "experiments/report/study_folder.h"

namespace foretell::report {

struct ReportTable {
  std::vector<std::string> headings = {};  // one that starts with '<' is a text column, as in Table
  std::vector<std::vector<std::string>> rows = {};
  bool empty() const { return rows.empty(); }
};

// A row for each cell and task, "overall" last. Columns that no row has a number for are left out.
ReportTable results_rows(const StudyFolder& study);
// Measured decode speed-up beside what acceptance and costs predict for decoding, a row for each cell that drafted.
ReportTable predicted_rows(const StudyFolder& study);
// How many tokens of a draft were accepted, apart for each depth of the draft: a row for each cell and depth, in shares
// of its rounds.
ReportTable depth_rows(const StudyFolder& study);
// What the experts of a mixture got: a row for each cell and layer.
ReportTable expert_rows(const StudyFolder& study);
// Distinct experts of a layer by how many rows were scored, beside uniform routing: a row for each cell and count.
ReportTable touched_rows(const StudyFolder& study);
// The heat map of loads: a row for each cell and layer, a column for each expert, in units of the layer's mean load.
ReportTable load_rows(const StudyFolder& study);
// What ran the cells. A fact that differs between cells has all its values, with how many cells have each.
Facts machine_facts(const StudyFolder& study);
// Why each cell won or lost, as the run has said it: cell -> reason.
Facts reasons(const StudyFolder& study);
std::vector<std::string> notes(const StudyFolder& study);
// The command that made the folder, as far as the folder tells.
std::string run_command(const StudyFolder& study);

// "1.20 to 1.31"; "-" without an interval.
std::string interval_text(const TaskNumbers& task);

}  // namespace foretell::report
