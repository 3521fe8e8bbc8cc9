// The command line as a whole: parses, runs one command, and turns whatever goes wrong into one line and an exit code.
//
// Contract: the only place that decides about exit codes.
//   0    done
//   2    the user's mistake (bad option, bad file, hostile input, unwritable output): "foretell: <message>" on standard
//   error 70   our mistake: a broken invariant, with its values 130  interrupted by Ctrl-C, after the current prompt
//   was finished and what is known was written
// A reader that closes our standard output early (`foretell list | head`) is no mistake: the command goes on, its
// output is dropped, the code is 0.
#pragma once

#include <exception>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "experiments/util/command.h"

namespace foretell::cli {

// `foretell` is two executables: one with the commands that run no model, which starts in milliseconds, and the engine
// with all of them, which links with LibTorch.
struct Program {
  void (*add_commands)(util::Command top);
  // What to say of an exception that the command line does not know and that is the user's mistake; may be null.
  std::optional<std::string> (*library_error)(const std::exception& error);
};

// Name and summary of each command, in their order.
std::vector<std::pair<std::string, std::string>> command_summaries(const Program& program);

int run_command_line(int argc, const char* const* argv, const Program& program);

}  // namespace foretell::cli
