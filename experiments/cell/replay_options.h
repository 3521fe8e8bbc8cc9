// What `model.target: {type: replay, ...}` takes, of recorded answers and of a recorded run with its distributions.
//
// Contract: options alone; cell_setup.h makes targets of them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "framework/core/parameters.h"

namespace foretell::cell {

struct ReplayDescription {
  std::string answers, tokenizer, chat_template = "vicuna";
  std::optional<int> vocab;
  void declare(Parameters& p);
};

struct DistributionReplayDescription {
  std::string distributions, cost = "recorded";
  std::optional<std::string> tokenizer;
  void declare(Parameters& p);
};

// The parameters of both, for `foretell list`.
std::vector<ParameterDoc> replay_parameters();

}  // namespace foretell::cell
