// One function a command: declares its options and says what to run when it has been chosen.
//
// Contract: nothing is loaded or printed while options are parsed. `action` is called once, after parsing has succeeded.
#pragma once

#include <CLI/CLI.hpp>

#include <functional>

namespace foretell {

using Action = std::function<void()>;

void add_generate_command(CLI::App& app, Action& action);
void add_score_command(CLI::App& app, Action& action);
void add_tokenize_command(CLI::App& app, Action& action);
void add_run_command(CLI::App& app, Action& action);
void add_check_command(CLI::App& app, Action& action);
void add_list_command(CLI::App& app, Action& action);
void add_make_random_command(CLI::App& app, Action& action);
void add_bench_command(CLI::App& app, Action& action);
void add_train_command(CLI::App& app, Action& action);
void add_import_command(CLI::App& app, Action& action);
void add_tasks_command(CLI::App& app, Action& action);
void add_train_tokenizer_command(CLI::App& app, Action& action);

}  // namespace foretell
