#include "framework/datasets/corpus.h"

#include <algorithm>

#include "framework/datasets/prompts.h"
#include "framework/io/file_bytes.h"

namespace foretell::datasets {
namespace {

// The first `count` tokens of a text, or all. Of a long text no more than a multiple of what is needed is encoded; how
// it was cut shows in the last few tokens only, which are not used.
Tokens first_tokens(const std::string& text, std::size_t count, const tokenizers::Tokenizer& tokenizer) {
  constexpr std::size_t margin = 8;
  for (std::size_t bytes = 8 * (count + margin);; bytes *= 4) {
    const bool whole = bytes >= text.size();
    Tokens tokens = tokenizer.encode(std::string_view(text).substr(0, bytes), {.parse_special = false});
    if (!whole && tokens.size() < count + margin) continue;
    if (tokens.size() > count) tokens.resize(count);
    return tokens;
  }
}

}  // namespace

std::vector<Tokens> read_corpus(const std::filesystem::path& file, const tokenizers::Tokenizer& tokenizer,
                                int max_tokens) {
  std::vector<std::string> texts;
  if (file.extension() == ".jsonl") {
    for (AnswerRow& row : read_answers(file)) std::move(row.turns.begin(), row.turns.end(), std::back_inserter(texts));
  } else {
    texts.push_back(io::read_file_bytes(file));
  }
  std::vector<Tokens> documents;
  auto room = static_cast<std::size_t>(std::max(max_tokens, 0));
  for (const std::string& text : texts) {
    if (room == 0) break;
    Tokens tokens = first_tokens(text, room, tokenizer);
    room -= tokens.size();
    if (!tokens.empty()) documents.push_back(std::move(tokens));
  }
  return documents;
}

}  // namespace foretell::datasets
