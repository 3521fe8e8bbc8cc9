// Drafts of learned heads against what a source says that knows nothing but the committed text: for tests of every
// drafter whose levels come from a LevelSource.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "experiments/certify/known_model.h"
#include "framework/decoding/bases/level_source.h"

namespace foretell::testing {

constexpr double kHeadTemperature = 2.5;  // so flat that an untrained head is accepted often

struct Recomputed {
  int none = 0, some = 0, whole = 0;  // rounds by what the one before them accepted
  int empty = 0;                      // drafts of nothing
  int levels = 0;                     // distributions that were compared
  double worst = 0;                   // between one that was drafted from and the same computed afresh
};

// Runs five answers behind prompts of 1 to 13 tokens, and computes each draft again with a new source.
Recomputed recompute(const std::string& drafter, const std::string& tree, int batch,
                     const std::function<std::unique_ptr<bases::LevelSource>()>& source,
                     const std::shared_ptr<const certify::KnownModel>& target);

}  // namespace foretell::testing
