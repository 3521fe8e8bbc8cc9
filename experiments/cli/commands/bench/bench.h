// What the commands below `foretell bench` share, and those that are in files of their own.
#pragma once

#include "experiments/runner/machine_watch.h"
#include "experiments/util/command.h"

namespace foretell::cli::commands::bench {

// What the machine did to the times of a bench that has ended, on standard error.
void show_notes(const runner::MachineWatch& watch);

void add_bench_machine(util::Command bench);

}  // namespace foretell::cli::commands::bench
