#include "experiments/commands/commands.h"
#include "experiments/console.h"
#include "framework/base/error.h"
#include "framework/model/files/llama2c.h"

namespace foretell {

void add_import_command(Command app) {
  struct Options {
    std::string file, tokenizer, out;
  };
  auto options = std::make_shared<Options>();
  Command command = app.add_command("import", "Turn another program's checkpoint into a model folder");
  command.require_command();
  Command llama2c = command.add_command("llama2c", "a llama2.c checkpoint, version 0 or 1");
  llama2c.add("file", options->file, "the checkpoint", {.type = "FILE", .required = true});
  llama2c.add("--tokenizer", options->tokenizer, "its tokenizer file", {.type = "TOK", .required = true});
  llama2c.add("--out", options->out, "the folder to make", {.type = "DIR", .required = true});
  llama2c.run([options] {
    import_llama2c(options->file, options->tokenizer, options->out);
    print_out(fmt::format("{}\n", options->out));
  });
}

}  // namespace foretell
