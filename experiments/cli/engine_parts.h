// What the program without LibTorch knows of the engine; the build has the engine write it.
#pragma once

#include <span>

namespace foretell::cli {

struct CommandSummary {
  const char* name;
  const char* summary;
};

extern const std::span<const CommandSummary> kEngineCommands;  // all, as `foretell --help` lists them
extern const char* const kEngineStrategies;                    // commands/strategies/described.h reads it

}  // namespace foretell::cli
