// All records of a study as an SQLite database, for questions that no table of a report answers.
//
// Contract: tables study, cells, settings, tasks, generations and rounds; a cell's rows name it by its hash. Numbers
// that do not exist are NULL. The file appears under its name only when it is complete and replaces an older one. Rows
// are read and written one by one, so memory does not grow with the study.
#pragma once

#include <filesystem>

#include "experiments/report/study_folder.h"

namespace foretell::report {

void write_database(const StudyFolder& study, const std::filesystem::path& file);

}  // namespace foretell::report
