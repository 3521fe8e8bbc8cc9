// Commands over a study's file.
//
// Contract: one function a command: declares its options and says what to run when it has been chosen.
#pragma once

#include <filesystem>

#include "experiments/util/command.h"

namespace foretell::cli::commands::studies {

void add_advise_command(util::Command app);
void add_check_command(util::Command app);
void add_run_command(util::Command app);
// run.h's run_study_file(), for `--run`; null in a program that runs no model.
using RunStudyFile = void (*)(const std::filesystem::path& study, const std::filesystem::path& results);
void add_table_command(util::Command app, RunStudyFile run_study);
void add_tree_command(util::Command app);

}  // namespace foretell::cli::commands::studies
