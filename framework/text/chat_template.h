// How a conversation is written as one text for a model.
//
// Contract: a template is known by name and is constant. BOS stands exactly once: either the tokenizer adds it (encode with add_special) or, where
// starts_with_bos(), the rendered text begins with it (encode without add_special). encode_prompt() does the right one. The markers in the text are meant to be parsed as special tokens.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "framework/text/tokenizer.h"

namespace foretell {

struct Message {
  std::string role;  // system, user or assistant
  std::string content;
};

class ChatTemplate {
 public:
  // vicuna, llama-3, chatml, none; Error lists them for another name.
  static const ChatTemplate& get(std::string_view name);
  static std::vector<std::string> names();

  const std::string& name() const { return name_; }

  // With `add_generation_prompt` the text ends where the assistant's next answer begins. Error for an unknown role.
  std::string render(std::span<const Message> messages, bool add_generation_prompt) const;

  // What ends an answer besides EOS; empty for vicuna and none, whose answers end in EOS.
  const std::vector<std::string>& stop_strings() const { return stop_strings_; }

  // EOS and those stop strings that are one token of this tokenizer.
  std::vector<Token> stop_tokens(const Tokenizer& tokenizer) const;

  bool starts_with_bos() const { return starts_with_bos_; }

 private:
  using Render = std::string (*)(std::span<const Message>, bool);
  ChatTemplate(std::string name, Render render, std::vector<std::string> stop_strings, bool starts_with_bos)
      : name_(std::move(name)), render_(render), stop_strings_(std::move(stop_strings)), starts_with_bos_(starts_with_bos) {}

  static const std::vector<ChatTemplate>& all();

  std::string name_;
  Render render_;
  std::vector<std::string> stop_strings_;
  bool starts_with_bos_;
};

// The ids of a rendered conversation, with BOS exactly once where the tokenizer or the template has one, and without an EOS at the end that the
// tokenizer's post-processor would add (the answer is to follow).
Tokens encode_prompt(const Tokenizer& tokenizer, const ChatTemplate& chat, std::span<const Message> messages,
                     bool add_generation_prompt = true);

}  // namespace foretell
