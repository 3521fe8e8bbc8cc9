#include "framework/datasets/datastore.h"
#include "framework/core/text.h"

#include "experiments/cli/commands/prepare/commands.h"
#include "experiments/util/console.h"
#include "framework/core/error.h"
#include "framework/datasets/prompts.h"
#include "framework/io/file_bytes.h"
#include "framework/tokenizers/tokenizer.h"
#include "framework/unicode/unicode.h"

namespace foretell::cli::commands::prepare {
namespace {

struct DatastoreOptions {
  std::optional<std::string> model, tokenizer;
  std::vector<std::string> texts, answers;
  std::string out;
};

// Documents one after the other, each with the token that ends it.
class Corpus {
 public:
  explicit Corpus(const tokenizers::Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void add(std::string_view text) {
    const Tokens ids = tokenizer_.encode(text, {.add_special = false, .parse_special = false});
    if (ids.empty()) return;
    tokens_.insert(tokens_.end(), ids.begin(), ids.end());
    tokens_.push_back(tokenizer_.vocab_size());
    ++documents_;
  }
  const Tokens& tokens() const { return tokens_; }
  int documents() const { return documents_; }

 private:
  const tokenizers::Tokenizer& tokenizer_;
  Tokens tokens_;
  int documents_ = 0;
};

void build_datastore(const DatastoreOptions& options) {
  if (options.model.has_value() == options.tokenizer.has_value())
    fail("datastore build needs exactly one of --model and --tokenizer");
  if (options.texts.empty() && options.answers.empty()) fail("datastore build needs --text or --answers");
  const auto tokenizer = tokenizers::load_tokenizer(options.model ? *options.model : *options.tokenizer);
  Corpus corpus(*tokenizer);
  for (const std::string& file : options.texts) corpus.add(unicode::lossy(io::read_file_bytes(file)));
  for (const std::string& file : options.answers)
    for (const datasets::AnswerRow& row : datasets::read_answers(file))
      for (const std::string& turn : row.turns) corpus.add(turn);
  const datasets::Datastore store = datasets::Datastore::build(tokenizer->vocab_size(), corpus.tokens());
  store.write(options.out);
  util::print_out(fmt::format("{}: {} of {}, vocabulary {}\n", options.out,
                              counted(store.size() - corpus.documents(), "token"),
                              counted(corpus.documents(), "document"), store.vocab()));
}

}  // namespace

void add_datastore_command(util::Command app) {
  util::Command group = app.add_command("datastore", "Corpora that retrieval drafters draw on");
  group.require_command();
  auto options = std::make_shared<DatastoreOptions>();
  util::Command command =
      group.add_command("build", "Tokenize texts or recorded answers and sort their suffixes, for the drafter `rest`");
  command.add("--model", options->model, "the target's folder, for its tokenizer", {.type = "DIR"});
  command.add("--tokenizer", options->tokenizer, "a tokenizer file, instead of --model", {.type = "FILE"});
  command.add("--text", options->texts, "files of running text, each one document", {.type = "FILE", .many = true});
  command.add("--answers", options->answers, "recorded answers (answers.jsonl of a run), each turn one document",
              {.type = "FILE", .many = true});
  command.add("--out", options->out, "the file to write", {.type = "FILE", .required = true});
  command.run([options] { build_datastore(*options); });
}

}  // namespace foretell::cli::commands::prepare
