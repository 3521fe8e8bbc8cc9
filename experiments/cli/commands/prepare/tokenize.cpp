#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "experiments/cli/commands/prepare/commands.h"
#include "experiments/util/console.h"
#include "experiments/util/number_list.h"
#include "framework/core/error.h"
#include "framework/tokenizers/tokenizer.h"

namespace foretell::cli::commands::prepare {
namespace {

struct TokenizeOptions {
  std::string model;
  std::optional<std::string> text, decode;
  bool add_special = false, json = false;
};

void tokenize(const TokenizeOptions& options) {
  if (options.text.has_value() == options.decode.has_value()) fail("tokenize needs exactly one of --text and --decode");
  const auto tokenizer = tokenizers::load_tokenizer(options.model);
  if (options.text) {
    const Tokens ids = tokenizer->encode(*options.text, {.add_special = options.add_special});
    options.json ? util::print_json({{"ids", ids}}) : util::print_out(fmt::format("{}\n", fmt::join(ids, " ")));
    return;
  }
  const Tokens ids = util::parse_ids(*options.decode, "--decode");
  const std::string text = tokenizer->decode(ids);
  options.json ? util::print_json({{"ids", ids}, {"text", text}}) : util::print_exact(text + "\n");
}

}  // namespace

void add_tokenize_command(util::Command app) {
  auto options = std::make_shared<TokenizeOptions>();
  util::Command command = app.add_command("tokenize", "Text to token ids and back");
  command.add("--model", options->model, "a model's folder, or a tokenizer file", {.type = "DIR", .required = true});
  command.add("--text", options->text, "to encode", {.type = "T"});
  command.add("--decode", options->decode, "ids to decode: \"1 2 3\"", {.type = "IDS"});
  command.add_flag("--add-special", options->add_special, "add what the tokenizer says: usually BOS in front");
  command.add_flag("--json", options->json, "as JSON");
  command.run([options] { tokenize(*options); });
}

}  // namespace foretell::cli::commands::prepare
