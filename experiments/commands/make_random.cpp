#include "framework/model/make_random.h"

#include "experiments/commands/commands.h"
#include "experiments/console.h"
#include "framework/base/error.h"

namespace foretell {

void add_make_random_command(CLI::App& app, Action& action) {
  struct Options {
    std::string config, out;
    std::uint64_t seed = 1;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("make-random", "Make a model with random weights, for cost studies and tests");
  command->add_option("--config", options->config, "the model's config.json")->required()->type_name("FILE");
  command->add_option("--out", options->out, "the folder to make")->required()->type_name("DIR");
  command->add_option("--seed", options->seed, "of the weights")->type_name("S")->capture_default_str();
  command->callback([options, &action] {
    action = [options] {
      make_random(options->config, options->out, options->seed);
      print_out(fmt::format("{}\n", options->out));
    };
  });
}

}  // namespace foretell
