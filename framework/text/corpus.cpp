#include "framework/text/corpus.h"

#include <algorithm>

#include "framework/text/file_bytes.h"
#include "framework/text/prompts.h"

namespace foretell {

std::vector<Tokens> read_corpus(const std::filesystem::path& file, const Tokenizer& tokenizer, int max_tokens) {
  std::vector<std::string> texts;
  if (file.extension() == ".jsonl") {
    for (AnswerRow& row : read_answers(file)) std::move(row.turns.begin(), row.turns.end(), std::back_inserter(texts));
  } else {
    texts.push_back(read_file_bytes(file));
  }
  std::vector<Tokens> documents;
  auto room = static_cast<std::size_t>(std::max(max_tokens, 0));
  for (const std::string& text : texts) {
    if (room == 0) break;
    Tokens tokens = tokenizer.encode(text, {.parse_special = false});
    if (tokens.size() > room) tokens.resize(room);
    room -= tokens.size();
    if (!tokens.empty()) documents.push_back(std::move(tokens));
  }
  return documents;
}

}  // namespace foretell
