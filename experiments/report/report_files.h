// A study's report in the formats that people and programs read.
//
// Contract: pure; every text of a study (names come from users) is escaped as its format asks. CSV has one row a cell
// and task and a cell without numbers has one row, with empty fields; swept settings are columns, named by their paths.
// JSON holds everything that the other formats show.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>

#include "experiments/report/report_tables.h"
#include "experiments/report/study_folder.h"

namespace foretell::report {

std::string report_text(const StudyFolder& study);  // for a terminal
std::string report_markdown(const StudyFolder& study);
std::string report_csv(const StudyFolder& study);
nlohmann::ordered_json report_json(const StudyFolder& study);
// The text of a JSON file. Readers get every name as it was; where the bytes would act on a terminal they are written
// as \uNNNN.
std::string exported_json(const nlohmann::ordered_json& json);

// Aligned for a terminal, control characters made visible.
std::string aligned(const ReportTable& table);
std::string markdown_table(const ReportTable& table);
// One field, quoted where its content asks for it. Control characters are made visible, and what a spreadsheet would
// take for a formula begins with an apostrophe.
std::string csv_field(const std::string& text);

}  // namespace foretell::report
