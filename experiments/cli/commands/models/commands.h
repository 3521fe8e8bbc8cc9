// Commands that run or train one model.
//
// Contract: one function a command: declares its options and says what to run when it has been chosen.
#pragma once

#include "experiments/util/command.h"

namespace foretell::cli::commands::models {

void add_diff_command(util::Command app);
void add_generate_command(util::Command app);
void add_make_random_command(util::Command app);
void add_overlap_command(util::Command app);
void add_parity_command(util::Command app);
void add_score_command(util::Command app);
void add_train_command(util::Command app);

}  // namespace foretell::cli::commands::models
