// Running a study from another command.
#pragma once

#include <filesystem>

namespace foretell::cli::commands::studies {

// All cells of the study as its file has it, into results/STUDY; what is there already is not run again. Prints nothing
// but progress.
void run_study_file(const std::filesystem::path& study, const std::filesystem::path& results);

}  // namespace foretell::cli::commands::studies
