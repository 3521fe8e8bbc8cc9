#include "framework/formats/inflate.h"

#include "experiments/cli/commands/prepare/commands.h"
#include "experiments/util/console.h"
#include "framework/core/error.h"
#include "framework/formats/heads/inflate_head.h"

namespace foretell::cli::commands::prepare {
namespace {

// config.json's name of a dtype that a user gives.
std::optional<std::string> dtype_name(const std::optional<std::string>& text) {
  if (!text) return std::nullopt;
  if (*text == "f32" || *text == "float32") return "float32";
  if (*text == "bf16" || *text == "bfloat16") return "bfloat16";
  fail("unknown dtype '{}'; known: f32, bf16", *text);
}

}  // namespace

void add_inflate_command(util::Command app) {
  struct Options {
    std::string model, like, out;
    std::optional<std::string> head, dtype;
  };
  auto options = std::make_shared<Options>();
  util::Command command = app.add_command(
      "inflate",
      "Pad a model, or a draft head of it, with zeros to a larger shape: its tokens at the larger model's cost");
  command.add("--model", options->model, "the small model's folder", {.type = "DIR", .required = true});
  command.add("--head", options->head, "a draft head of that model: it is padded, not the model", {.type = "DIR"});
  command.add("--like", options->like, "the config.json of the larger shape", {.type = "CONFIG", .required = true});
  command.add("--out", options->out, "the folder to make", {.type = "DIR", .required = true});
  command.add("--dtype", options->dtype, "f32 or bf16; without it the shape's, else the model's", {.type = "T"});
  command.run([options] {
    const std::optional<std::string> dtype = dtype_name(options->dtype);
    if (options->head)
      formats::heads::inflate_head({*options->head, options->model, options->like, options->out, dtype});
    else
      formats::inflate({options->model, options->like, options->out, dtype});
    util::print_out(fmt::format("{}\n", options->out));
  });
}

}  // namespace foretell::cli::commands::prepare
