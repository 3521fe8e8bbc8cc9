#include "experiments/workload/dialogue.h"

#include <fmt/ranges.h>

#include "framework/core/error.h"
#include "framework/core/text.h"

namespace foretell::workload {

Dialogue::Dialogue(std::shared_ptr<const tokenizers::Tokenizer> tokenizer, chat::ChatTemplate chat)
    : tokenizer_(std::move(tokenizer)), chat_(std::move(chat)) {}

Tokens Dialogue::prompt(const Conversation& conversation, int turn, std::span<const std::string> answers) const {
  if (!conversation.turns[turn].ids.empty()) return conversation.turns[turn].ids;
  if (!tokenizer_) fail("prompt {} is text, and the model's folder has no tokenizer", conversation.id);
  std::vector<chat::Message> messages;
  for (int t = 0; t <= turn; ++t) {
    messages.push_back({"user", conversation.turns[t].text});
    if (t < turn) messages.push_back({"assistant", answers[t]});
  }
  return chat::encode_prompt(*tokenizer_, *chat_, messages);
}

std::string Dialogue::answer_text(TokenSpan prompt, TokenSpan tokens) const {
  if (!tokenizer_) return fmt::format("{}", fmt::join(tokens, " "));
  return std::string(trimmed(tokenizers::decode_continuation(tokenizer_, prompt, tokens, true)));
}

}  // namespace foretell::workload
