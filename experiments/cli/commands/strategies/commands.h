// Commands about the strategies: what there is, whether it is right, how a new one starts.
//
// Contract: one function a command: declares its options and says what to run when it has been chosen.
#pragma once

#include "experiments/util/command.h"

namespace foretell::cli::commands::strategies {

void add_certify_command(util::Command app);
void add_list_command(util::Command app);
void add_new_command(util::Command app);

}  // namespace foretell::cli::commands::strategies
