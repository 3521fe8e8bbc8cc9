// From a conversation's turns to the tokens of a prompt, and back.
//
// Contract: the prompt of turn k holds turns 0 to k and the answers to the turns before k. Text needs a tokenizer;
// turns that are tokens already need none and have no answers put between them. The text of an answer is stripped of
// blanks at both ends, as FastChat does.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "experiments/workload/workload.h"
#include "framework/chat/chat_template.h"
#include "framework/tokenizers/tokenizer.h"

namespace foretell::workload {

class Dialogue {
 public:
  Dialogue() = default;
  Dialogue(std::shared_ptr<const tokenizers::Tokenizer> tokenizer, chat::ChatTemplate chat);

  Tokens prompt(const Conversation& conversation, int turn, std::span<const std::string> answers) const;
  // The text that `tokens` add after `prompt`; ids joined by spaces where there is no tokenizer.
  std::string answer_text(TokenSpan prompt, TokenSpan tokens) const;

 private:
  std::shared_ptr<const tokenizers::Tokenizer> tokenizer_;
  std::optional<chat::ChatTemplate> chat_;  // none: default constructed
};

}  // namespace foretell::workload
