// Commands over a study's file.
//
// Contract: one function a command: declares its options and says what to run when it has been chosen.
#pragma once

#include "experiments/util/command.h"

namespace foretell::cli::commands::studies {

void add_check_command(util::Command app);
void add_run_command(util::Command app);
void add_table_command(util::Command app);
void add_tree_command(util::Command app);

}  // namespace foretell::cli::commands::studies
