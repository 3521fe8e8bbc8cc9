// --threads and --oversubscribe, the same in every command that computes.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "experiments/util/command.h"

namespace foretell::study {

struct ThreadOptions {
  std::optional<int> threads;
  bool oversubscribe = false;

  void declare(util::Command& command);
  // Sets LibTorch's threads. An Error if there are more than processors and nobody insists.
  void apply() const;
};

// For commands whose threads are a file's: the flag stands for the key `run.oversubscribe`.
void add_oversubscribe_flag(util::Command& command, bool& oversubscribe);
std::vector<std::string> with_oversubscribe(std::vector<std::string> overrides, bool oversubscribe);

}  // namespace foretell::study
