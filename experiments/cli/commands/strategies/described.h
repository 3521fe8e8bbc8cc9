// Strategies that a program knows by their description alone.
//
// Contract: describe_strategies() writes what every registry holds as JSON; add_described() registers those of such a
// text that the program lacks, with registration and parameters as they were and a factory that refuses. The text is
// the build's own (CMakeLists.txt), so `list` and `new` know the strategies that need LibTorch without it.
#pragma once

#include <string>
#include <string_view>

namespace foretell::cli::commands::strategies {

std::string describe_strategies();
void add_described(std::string_view text);

}  // namespace foretell::cli::commands::strategies
