#include "framework/model/make_random.h"

#include "experiments/cli/commands/models/commands.h"
#include "experiments/util/console.h"
#include "framework/core/error.h"

namespace foretell::cli::commands::models {

void add_make_random_command(util::Command app) {
  struct Options {
    std::string config, out;
    std::uint64_t seed = 1;
  };
  auto options = std::make_shared<Options>();
  util::Command command =
      app.add_command("make-random", "Make a model with random weights, for cost studies and tests");
  command.add("--config", options->config, "the model's config.json", {.type = "FILE", .required = true});
  command.add("--out", options->out, "the folder to make", {.type = "DIR", .required = true});
  command.add("--seed", options->seed, "of the weights", {.type = "S", .show_default = true});
  command.run([options] {
    model::make_random(options->config, options->out, options->seed);
    util::print_out(fmt::format("{}\n", options->out));
  });
}

}  // namespace foretell::cli::commands::models
