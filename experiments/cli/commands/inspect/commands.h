// Commands over results folders that exist; no model is loaded.
//
// Contract: one function a command: declares its options and says what to run when it has been chosen.
#pragma once

#include "experiments/util/command.h"

namespace foretell::cli::commands::inspect {

void add_calibrate_command(util::Command app);
void add_compare_command(util::Command app);
void add_import_command(util::Command app);
void add_merge_command(util::Command app);
void add_plot_command(util::Command app);
void add_report_command(util::Command app);

}  // namespace foretell::cli::commands::inspect
