#include "experiments/commands/commands.h"
#include "experiments/console.h"
#include "framework/base/error.h"
#include "framework/model/files/bitllama.h"
#include "framework/model/files/llama2c.h"

namespace foretell {
namespace {

using Import = void (*)(const std::filesystem::path& file, const std::filesystem::path& tokenizer, const std::filesystem::path& out_dir);

struct ImportOptions {
  std::string file, tokenizer, out;
};

void add_format(Command command, const std::string& name, const std::string& summary, Import import) {
  auto options = std::make_shared<ImportOptions>();
  Command format = command.add_command(name, summary);
  format.add("file", options->file, "the checkpoint", {.type = "FILE", .required = true});
  format.add("--tokenizer", options->tokenizer, "its tokenizer file: .bin, .model or .json", {.type = "TOK", .required = true});
  format.add("--out", options->out, "the folder to make", {.type = "DIR", .required = true});
  format.run([options, import] {
    import(options->file, options->tokenizer, options->out);
    print_out(fmt::format("{}\n", options->out));
  });
}

}  // namespace

void add_import_command(Command app) {
  Command command = app.add_command("import", "Turn another program's checkpoint into a model folder");
  command.require_command();
  add_format(command, "llama2c", "a llama2.c checkpoint, version 0 or 1", import_llama2c);
  add_format(command, "bitllama", "a ternary checkpoint of bitllama2.c (BitNet b1.58)", import_bitllama);
}

}  // namespace foretell
