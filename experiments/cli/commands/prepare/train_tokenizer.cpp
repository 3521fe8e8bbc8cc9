#include "framework/tokenizers/train_tokenizer.h"
#include "framework/core/text.h"

#include "experiments/cli/commands/prepare/commands.h"
#include "experiments/util/console.h"
#include "framework/core/error.h"
#include "framework/datasets/tasks.h"
#include "framework/io/atomic_file.h"
#include "framework/io/file_bytes.h"
#include "framework/tokenizers/tokenizer.h"
#include "framework/unicode/unicode.h"

namespace foretell::cli::commands::prepare {
namespace {

// What chatml needs; the first one also ends a text without turns.
const std::vector<std::string> kSpecialTokens = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};

constexpr const char* kConfig = R"({
  "add_bos_token": false,
  "bos_token": null,
  "eos_token": "<|im_end|>",
  "pad_token": "<|endoftext|>",
  "tokenizer_class": "PreTrainedTokenizerFast"
}
)";

struct TrainTokenizerOptions {
  std::vector<std::string> files;
  std::string out;
  int vocab_size = 2048;
  int conversations = 3000;
};

std::vector<std::string> texts_of(const TrainTokenizerOptions& options) {
  std::vector<std::string> texts;
  for (const std::string& file : options.files) texts.push_back(unicode::lossy(io::read_file_bytes(file)));
  if (!texts.empty()) return texts;
  for (const std::string_view family : datasets::task_families())
    for (int i = 0; i < options.conversations; ++i)
      for (const datasets::TaskTurn& turn : datasets::make_task(family, {}, datasets::TaskSplit::Train, i).turns) {
        texts.push_back("user\n" + turn.prompt);
        texts.push_back("assistant\n" + turn.answer);
      }
  return texts;
}

void train(const TrainTokenizerOptions& options) {
  const std::string json = tokenizers::train_tokenizer(texts_of(options), {options.vocab_size, kSpecialTokens});
  const std::filesystem::path out = options.out;
  io::make_folder(out);
  io::write_file(out / "tokenizer.json", json);
  io::write_file(out / "tokenizer_config.json", kConfig);
  util::print_out(
      fmt::format("{}: {}\n", options.out, counted(tokenizers::load_tokenizer(out)->vocab_size(), "token")));
}

}  // namespace

void add_train_tokenizer_command(util::Command app) {
  auto options = std::make_shared<TrainTokenizerOptions>();
  util::Command command =
      app.add_command("train-tokenizer", "Train a byte-level BPE tokenizer, on files or on generated conversations");
  command.add("--text", options->files, "files to learn from; default: generated conversations",
              {.type = "FILE", .many = true});
  command.add("--conversations", options->conversations, "generated conversations of each family",
              {.type = "N", .show_default = true, .min = 1});
  command.add("--vocab-size", options->vocab_size, "tokens, at most", {.type = "N", .show_default = true});
  command.add("--out", options->out, "the folder to make", {.type = "DIR", .required = true});
  command.run([options] { train(*options); });
}

}  // namespace foretell::cli::commands::prepare
