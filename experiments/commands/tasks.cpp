#include <nlohmann/json.hpp>

#include "experiments/commands/commands.h"
#include "experiments/console.h"
#include "framework/base/error.h"
#include "framework/text/tasks.h"

namespace foretell {
namespace {

struct Options {
  std::vector<std::string> families;
  std::string split = "heldout";
  std::uint64_t from = 0, count = 1;
  std::int64_t seed = 1;
  bool json = false;
};

void print(const TaskExample& example, bool json) {
  if (!json) {
    print_out(fmt::format("--- {}\n", example.id));
    for (const TaskTurn& turn : example.turns) print_out(fmt::format("user: {}\nassistant: {}\n", turn.prompt, turn.answer));
    return;
  }
  nlohmann::ordered_json row = {{"id", example.id}, {"category", example.family}, {"turns", nlohmann::ordered_json::array()}};
  row["answers"] = nlohmann::ordered_json::array();
  for (const TaskTurn& turn : example.turns) {
    row["turns"].push_back(turn.prompt);
    row["answers"].push_back(turn.answer);
  }
  print_out(row.dump() + "\n");
}

void show_tasks(const Options& options) {
  std::vector<std::string> families = options.families;
  if (families.empty()) families.assign(task_families().begin(), task_families().end());
  TaskSettings settings;
  settings.seed = options.seed;
  const TaskSplit split = options.split == "train" ? TaskSplit::Train : TaskSplit::Heldout;
  for (const std::string& family : families)
    for (std::uint64_t i = 0; i < options.count; ++i) print(make_task(family, settings, split, options.from + i), options.json);
}

}  // namespace

void add_tasks_command(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("tasks", "Show generated conversations of the six task families");
  command->add_option("families", options->families, "families to show; default: all")->type_name("FAMILY");
  command->add_option("--split", options->split, "which side")->check(CLI::IsMember({"train", "heldout"}))->capture_default_str();
  command->add_option("--from", options->from, "the first conversation's number")->type_name("N")->capture_default_str();
  command->add_option("--count", options->count, "conversations of each family")->type_name("N")->capture_default_str();
  command->add_option("--seed", options->seed, "of the conversations")
      ->check(CLI::NonNegativeNumber)
      ->type_name("S")
      ->capture_default_str();
  command->add_flag("--json", options->json, "one object a line, as the jsonl workload reads it");
  command->callback([options, &action] { action = [options] { show_tasks(*options); }; });
}

}  // namespace foretell
