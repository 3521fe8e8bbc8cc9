#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <span>

#include "experiments/cli/commands/prepare/commands.h"
#include "experiments/util/console.h"
#include "experiments/util/number_list.h"
#include "framework/core/error.h"
#include "framework/io/file_bytes.h"
#include "framework/tokenizers/tokenizer.h"

namespace foretell::cli::commands::prepare {
namespace {

struct TokenizeOptions {
  std::string model;
  std::optional<std::string> text, file, decode;
  bool add_special = false, json = false;
};

// What standard input holds, to its end; as much as a file may hold (io::read_file_bytes).
std::string read_standard_input() {
  constexpr std::size_t kMost = std::size_t{1} << 30;
  std::string text;
  std::vector<char> block(std::size_t{1} << 20);
  for (ssize_t count = 0; (count = ::read(STDIN_FILENO, block.data(), block.size())) != 0;) {
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail("standard input: {}", std::strerror(errno));
    text.append(block.data(), static_cast<std::size_t>(count));
    if (text.size() > kMost) fail("standard input: more than the {} bytes that a text may have", kMost);
  }
  return text;
}

std::string text_of(const TokenizeOptions& options) {
  if (options.text) return *options.text;
  return *options.file == "-" ? read_standard_input() : io::read_file_bytes(*options.file);
}

// Millions of ids: neither a tree of JSON values nor one more copy of the whole.
void print_ids(const Tokens& ids, bool json) {
  util::print_out(json ? "{\"ids\":[" : "");
  constexpr std::size_t kBlock = 65536;
  for (std::size_t first = 0; first < ids.size(); first += kBlock) {
    const auto block = std::span(ids).subspan(first, std::min(kBlock, ids.size() - first));
    const char* const separator = json ? "," : " ";
    util::print_out(fmt::format("{}{}", first > 0 ? separator : "", fmt::join(block, separator)));
  }
  util::print_out(json ? "]}\n" : "\n");
}

void tokenize(const TokenizeOptions& options) {
  if (options.text.has_value() + options.file.has_value() + options.decode.has_value() != 1)
    fail("tokenize needs exactly one of --text, --file and --decode");
  const auto tokenizer = tokenizers::load_tokenizer(options.model);
  if (!options.decode)
    return print_ids(tokenizer->encode(text_of(options), {.add_special = options.add_special}), options.json);
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
  command.add("--file", options->file, "a file to encode; - is standard input", {.type = "FILE"});
  command.add("--decode", options->decode, "ids to decode: \"1 2 3\"", {.type = "IDS"});
  command.add_flag("--add-special", options->add_special, "add what the tokenizer says: usually BOS in front");
  command.add_flag("--json", options->json, "as JSON");
  command.run([options] { tokenize(*options); });
}

}  // namespace foretell::cli::commands::prepare
