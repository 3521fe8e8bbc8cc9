// The commands `foretell bench` and `foretell profile`; what the former has below it is declared in bench.h.
//
// Contract: declares its options and says what to run when it has been chosen.
#pragma once

#include "experiments/util/command.h"

namespace foretell::cli::commands::bench {

void add_bench_command(util::Command app);
void add_profile_command(util::Command app);

}  // namespace foretell::cli::commands::bench
