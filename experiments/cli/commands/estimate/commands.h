// Commands that compute what a run would cost from configurations and data sheets; nothing is run.
//
// Contract: one function a command: declares its options and says what to run when it has been chosen.
#pragma once

#include "experiments/util/command.h"

namespace foretell::cli::commands::estimate {

void add_efficiency_command(util::Command app);
// `foretell offload`, and `foretell import router-log`, which shows the same of a log.
void add_offload_command(util::Command app);
void add_router_log_format(util::Command import);
void add_predict_command(util::Command app);
void add_roofline_command(util::Command app);
void add_simulate_command(util::Command app);

}  // namespace foretell::cli::commands::estimate
