#include <nlohmann/json.hpp>

#include "experiments/cli/commands/prepare/commands.h"
#include "experiments/util/console.h"
#include "framework/core/error.h"
#include "framework/datasets/tasks.h"

namespace foretell::cli::commands::prepare {
namespace {

struct TasksOptions {
  std::vector<std::string> families;
  std::string split = "heldout";
  std::uint64_t from = 0, count = 1;
  std::int64_t seed = 1;
  bool json = false;
};

void print(const datasets::TaskExample& example, bool json) {
  if (!json) {
    util::print_out(fmt::format("--- {}\n", example.id));
    for (const datasets::TaskTurn& turn : example.turns)
      util::print_out(fmt::format("user: {}\nassistant: {}\n", turn.prompt, turn.answer));
    return;
  }
  nlohmann::ordered_json row = {
      {"id", example.id}, {"category", example.family}, {"turns", nlohmann::ordered_json::array()}};
  row["answers"] = nlohmann::ordered_json::array();
  for (const datasets::TaskTurn& turn : example.turns) {
    row["turns"].push_back(turn.prompt);
    row["answers"].push_back(turn.answer);
  }
  util::print_json(row);
}

void show_tasks(const TasksOptions& options) {
  std::vector<std::string> families = options.families;
  if (families.empty()) families.assign(datasets::task_families().begin(), datasets::task_families().end());
  datasets::TaskSettings settings;
  settings.seed = options.seed;
  const datasets::TaskSplit split =
      options.split == "train" ? datasets::TaskSplit::Train : datasets::TaskSplit::Heldout;
  for (const std::string& family : families)
    for (std::uint64_t i = 0; i < options.count; ++i)
      print(datasets::make_task(family, settings, split, options.from + i), options.json);
}

}  // namespace

void add_tasks_command(util::Command app) {
  auto options = std::make_shared<TasksOptions>();
  util::Command command = app.add_command("tasks", "Show generated conversations of the six task families");
  command.add("families", options->families, "families to show; default: all", {.type = "FAMILY"});
  command.add("--split", options->split, "which side", {.show_default = true, .choices = {"train", "heldout"}});
  command.add("--from", options->from, "the first conversation's number", {.type = "N", .show_default = true});
  command.add("--count", options->count, "conversations of each family", {.type = "N", .show_default = true});
  command.add("--seed", options->seed, "of the conversations", {.type = "S", .show_default = true, .min = 0});
  command.add_flag("--json", options->json, "one object a line, as the jsonl workload reads it");
  command.run([options] { show_tasks(*options); });
}

}  // namespace foretell::cli::commands::prepare
