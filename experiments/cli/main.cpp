// `foretell`: the commands that run no model, without LibTorch, whose initialisers take 0.2 s and 120 MB. All others
// are handed over to the engine, an executable of its own (engine.cpp).

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <string_view>

#include "experiments/cli/command_line.h"
#include "experiments/cli/commands/estimate/commands.h"
#include "experiments/cli/commands/inspect/commands.h"
#include "experiments/cli/commands/models/commands.h"
#include "experiments/cli/commands/prepare/commands.h"
#include "experiments/cli/commands/strategies/commands.h"
#include "experiments/cli/commands/strategies/described.h"
#include "experiments/cli/commands/studies/commands.h"
#include "experiments/cli/engine_parts.h"
#include "experiments/util/console.h"

namespace foretell::cli {
namespace {

using namespace commands;

struct Known {
  std::string_view name;
  void (*add)(util::Command top);
};
constexpr Known kCommands[] = {{"calibrate", inspect::add_calibrate_command},
                               {"compare", inspect::add_compare_command},
                               {"datastore", prepare::add_datastore_command},
                               {"efficiency", estimate::add_efficiency_command},
                               {"import", inspect::add_import_command},
                               {"inflate", prepare::add_inflate_command},
                               {"list", strategies::add_list_command},
                               {"make-random", models::add_make_random_command},
                               {"merge", inspect::add_merge_command},
                               {"new", strategies::add_new_command},
                               {"offload", estimate::add_offload_command},
                               {"plot", inspect::add_plot_command},
                               {"predict", estimate::add_predict_command},
                               {"report", inspect::add_report_command},
                               {"roofline", estimate::add_roofline_command},
                               {"simulate", estimate::add_simulate_command},
                               {"table", [](util::Command top) { studies::add_table_command(top, nullptr); }},
                               {"tasks", prepare::add_tasks_command},
                               {"tokenize", prepare::add_tokenize_command},
                               {"train-tokenizer", prepare::add_train_tokenizer_command}};

const Known* find(std::string_view name) {
  const auto* const found = std::find_if(std::begin(kCommands), std::end(kCommands),
                                         [&](const Known& command) { return command.name == name; });
  return found == std::end(kCommands) ? nullptr : found;
}

// The engine's commands are there by name, for `foretell --help` and for what is mistyped.
void add_commands(util::Command top) {
  for (const CommandSummary& command : kEngineCommands) {
    if (const Known* ours = find(command.name))
      ours->add(top);
    else
      top.add_command(command.name, command.summary);
  }
}

// Whether the command is one of ours, and runs no model: a plug-in may do so, and `table --run`.
bool is_ours(int count, char** arguments) {
  const std::string_view first = count > 1 ? arguments[1] : "";
  const std::string_view command = first == "help" && count > 2 ? arguments[2] : first;
  bool ours = command.empty() || command == "help" || command == "--help" || command == "-h" ||
              command == "--version" || find(command);
  for (int i = 2; i < count; ++i) {
    const std::string_view option = arguments[i];
    ours = ours && !option.starts_with("--plugin") && option != "--run";
  }
  return ours;
}

// How long threads of OpenMP spin before they sleep has to be said before its library is loaded, in the environment;
// docs/reference/performance.md has reasons and numbers. Whoever has made one of these settings has decided.
constexpr std::string_view kSettings[] = {"OMP_WAIT_POLICY=", "GOMP_SPINCOUNT=", "KMP_BLOCKTIME="};
constexpr int kMostVariables = 4096;

char** with_waiting(char** environment) {
  static char setting[] = "GOMP_SPINCOUNT=1000";
  static char* extended[kMostVariables + 2];
  int count = 0;
  for (; environment[count] != nullptr; ++count) {
    if (count == kMostVariables) return environment;
    for (const std::string_view known : kSettings)
      if (std::strncmp(environment[count], known.data(), known.size()) == 0) return environment;
    extended[count] = environment[count];
  }
  extended[count] = setting;
  return extended;
}

// Becomes the engine, which stands beside this program or where it was installed to. Returns where there is none.
void become_engine(char** arguments, char** environment) {
  static char path[4096];
  const ssize_t length = ::readlink("/proc/self/exe", path, sizeof path - 64);
  if (length <= 0) return;
  path[length] = 0;
  char* const name = std::strrchr(path, '/') + 1;
  char** const extended = with_waiting(environment);
  for (const char* place : {"foretell-engine", FORETELL_ENGINE_FROM_BIN}) {
    std::strcpy(name, place);
    ::execve(path, arguments, extended);
  }
}

}  // namespace
}  // namespace foretell::cli

int main(int argc, char** argv, char** environment) {
  using namespace foretell::cli;
  if (!is_ours(argc, argv)) {
    become_engine(argv, environment);
    foretell::util::print_error("foretell: the program foretell-engine is missing, which runs this command\n");
    return 2;
  }
  commands::strategies::add_described(kEngineStrategies);
  return run_command_line(argc, argv, {.add_commands = foretell::cli::add_commands, .library_error = nullptr});
}
