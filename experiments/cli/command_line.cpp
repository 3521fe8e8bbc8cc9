#include "experiments/cli/command_line.h"

#include <CLI/CLI.hpp>

#include <csignal>
#include <cstdlib>
#include <exception>
#include <new>

#include "experiments/util/console.h"
#include "experiments/util/interrupt.h"
#include "experiments/util/negative_result.h"
#include "framework/core/error.h"
#include "framework/core/printable.h"
#include "framework/core/processors.h"
#include "framework/core/version.h"

namespace foretell::cli {
namespace {

enum ExitCode { kDone = 0, kAnswerIsNo = 1, kUsersMistake = 2, kOurMistake = 70, kInterrupted = 130 };

int report(ExitCode code, std::string_view message) {
  util::print_error(fmt::format("foretell: {}\n", printable(util::one_line(message))));
  return code;
}

// `foretell help run` is `foretell run --help`, and `foretell` alone is `foretell --help`.
// CLI11 would read a value such as "-1 2" or "--x" as an option, so a text option and such a value are joined with '='.
std::vector<std::string> arguments_of(int argc, const char* const* argv) {
  static const std::vector<std::string> text_options = {"--prompt", "--ids", "--text", "--decode", "--stop"};
  std::vector<std::string> arguments;
  const bool help = argc > 1 && std::string_view(argv[1]) == "help";
  for (int i = help ? 2 : 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const bool takes_text = std::find(text_options.begin(), text_options.end(), argument) != text_options.end();
    if (takes_text && i + 1 < argc && argv[i + 1][0] == '-')
      arguments.push_back(argument + "=" + argv[++i]);
    else
      arguments.push_back(argument);
  }
  if (help || argc == 1) arguments.push_back("--help");
  return arguments;
}

std::string version_line() { return fmt::format("foretell {} ({}, {})", version(), git_revision(), compiler()); }

// The command that was chosen, with its own subcommand where it has one ("bench model").
const CLI::App& innermost(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? app : innermost(*chosen.front());
}

// " bench model": what was chosen, as it is typed.
std::string path_of(const CLI::App& command) {
  return command.get_parent() ? path_of(*command.get_parent()) + " " + command.get_name() : "";
}

std::vector<std::string> option_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

std::vector<std::string> command_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::App* sub : command.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(sub->get_name());
  return names;
}

// CLI11's messages, made more helpful where a name was mistyped.
std::string usage_message(const CLI::App& app, const CLI::ParseError& error,
                          const std::vector<std::string>& arguments) {
  const CLI::App& command = innermost(app);
  const std::string name = command.get_parent() ? command.get_name() : "";
  const std::string help = fmt::format("; `foretell{} --help` explains", path_of(command));
  for (std::string argument : command.remaining()) {
    argument = argument.substr(0, argument.find('='));
    if (argument.rfind("--", 0) == 0) return unknown_name_message("option", argument, option_names(command));
  }
  const auto names = command_names(command);
  if (!names.empty())
    for (const std::string& argument : arguments)
      if (!argument.empty() && argument.front() != '-' && argument != name &&
          std::find(names.begin(), names.end(), argument) == names.end())
        return unknown_name_message("command", argument, names);
  return error.what() + help;
}

int parse_and_run(CLI::App& app, const std::vector<std::string>& arguments, const util::Action& action) {
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::CallForHelp&) {
    // `foretell help nothing`
    const CLI::App& command = innermost(app);
    const auto names = command_names(command);
    for (const std::string& argument : command.remaining())
      if (!names.empty() && argument.front() != '-')
        return report(kUsersMistake, unknown_name_message("command", argument, names));
    util::print_out(util::wrapped_lines(app.help(), util::out_columns()));
    return kDone;
  } catch (const CLI::CallForVersion&) {
    util::print_out(version_line() + "\n");
    return kDone;
  } catch (const CLI::ParseError& error) {
    return report(kUsersMistake, usage_message(app, error, arguments));
  }
  action();
  return kDone;
}

decltype(Program::library_error) library_error = nullptr;

int guarded(const std::function<int()>& body) {
  try {
    const int code = body();
    util::flush_out();
    return code;
  } catch (const util::NegativeResult&) {
    util::flush_out();
    return kAnswerIsNo;
  } catch (const util::Interrupted& stopped) {
    return report(kInterrupted, stopped.what());
  } catch (const Error& error) {
    return report(kUsersMistake, error.what());
  } catch (const InternalError& error) {
    return report(kOurMistake, error.what());
  } catch (const std::bad_alloc&) {
    return report(kUsersMistake, "not enough memory");
  } catch (const std::filesystem::filesystem_error& error) {
    return report(kUsersMistake, error.what());
  } catch (const std::exception& error) {
    const auto known = library_error ? library_error(error) : std::nullopt;
    if (known) return report(kUsersMistake, *known);
    return report(kOurMistake, fmt::format("internal error: {}", error.what()));
  } catch (...) {
    return report(kOurMistake, "internal error: something was thrown that is no exception of C++; a plug-in's?");
  }
}

bool in_command = false;

// libgomp ends the process where it gets no thread. That must not look as if a command had answered.
void on_exit_inside() {
  if (!in_command) return;
  std::_Exit(report(
      kUsersMistake,
      "a library ended the program (its reason is above): not enough memory or threads; `ulimit -a` shows the limits"));
}

// What escapes from a thread, a destructor or a function that must not throw: one line as well, and no signal. What has
// been written stays.
[[noreturn]] void end_with_a_line() {
  const int code = guarded([]() -> int {
    if (const std::exception_ptr thrown = std::current_exception()) std::rethrow_exception(thrown);
    throw InternalError("internal error: std::terminate was called");
  });
  std::_Exit(code);
}

}  // namespace

std::vector<std::pair<std::string, std::string>> command_summaries(const Program& program) {
  CLI::App app;
  util::Action action;
  program.add_commands(util::Command(app, action));
  std::vector<std::pair<std::string, std::string>> out;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; }))
    out.emplace_back(sub->get_name(), sub->get_description());
  return out;
}

int run_command_line(int argc, const char* const* argv, const Program& program) {
  library_error = program.library_error;
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a file that reaches its limit is an error of the write, as a full disk is
  std::set_terminate(end_with_a_line);
  std::atexit(on_exit_inside);
  usable_processors();  // before anything is pinned
  CLI::App app("Foretell: speculative decoding and early exit, measured.", "foretell");
  app.set_version_flag("--version", version_line());
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  util::Action action;
  const util::Command top(app, action);
  program.add_commands(top);
  const auto arguments = arguments_of(argc, argv);
  in_command = true;
  const int code = guarded([&] { return parse_and_run(app, arguments, action); });
  in_command = false;
  return code;
}

}  // namespace foretell::cli
