// Strategies that a program knows by their description alone.
//
// Contract: describe_strategies() writes what every registry holds as JSON; add_described() registers those of such a
// text that the program lacks, with registration and parameters as they were and a factory that refuses. The text is
// the build's own (CMakeLists.txt), so `list` and `new` know the strategies that need LibTorch without it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "framework/core/registry.h"

namespace foretell::cli::commands::strategies {

// What `foretell train` can teach: known by description in every program, because a learner's interface needs LibTorch.
struct DescribedLearner {
  std::string name;
  StrategyInfo info;
  std::vector<ParameterDoc> parameters;
};
// The engine fills it when it starts, add_described() elsewhere.
std::vector<DescribedLearner>& described_learners();

std::string describe_strategies();
void add_described(std::string_view text);

}  // namespace foretell::cli::commands::strategies
