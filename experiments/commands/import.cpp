#include "experiments/commands/commands.h"
#include "experiments/console.h"
#include "framework/base/error.h"
#include "framework/model/files/llama2c.h"

namespace foretell {

void add_import_command(CLI::App& app, Action& action) {
  struct Options {
    std::string file, tokenizer, out;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("import", "Turn another program's checkpoint into a model folder");
  command->require_subcommand(1);
  CLI::App* llama2c = command->add_subcommand("llama2c", "a llama2.c checkpoint, version 0 or 1");
  llama2c->add_option("file", options->file, "the checkpoint")->required()->type_name("FILE");
  llama2c->add_option("--tokenizer", options->tokenizer, "its tokenizer file")->required()->type_name("TOK");
  llama2c->add_option("--out", options->out, "the folder to make")->required()->type_name("DIR");
  llama2c->callback([options, &action] {
    action = [options] {
      import_llama2c(options->file, options->tokenizer, options->out);
      print_out(fmt::format("{}\n", options->out));
    };
  });
}

}  // namespace foretell
