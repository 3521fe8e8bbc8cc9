// How a conversation is written as one text for a model.
//
// Contract: a template is known by name and is constant; a model's own one (own_template.h) is one of these with its
// way of beginning a text. Of the known ones BOS stands exactly once: either the tokenizer adds it, or, where
// starts_with_bos(), the rendered text begins with it. A model's own template says itself whether BOS is written.
// encode_prompt() does the right one. The markers in the text are meant to be parsed as special tokens.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "framework/chat/message.h"
#include "framework/tokenizers/tokenizer.h"

namespace foretell::chat {

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
  std::vector<Token> stop_tokens(const tokenizers::Tokenizer& tokenizer) const;

  bool starts_with_bos() const { return !lead_.empty(); }

  // Whether BOS stands before the rendered text: as the tokenizer does it for any text, or as a model's own template
  // says.
  enum class Bos { Tokenizers, Written, NotWritten };
  Bos bos() const { return bos_; }

  // What a model's own template may be if it is this one: with BOS written as `bos_token`, else without any or with
  // this template's spelling of it.
  std::vector<ChatTemplate> as_own(bool writes_bos_token) const;
  // Puts this system message before conversations that have none.
  ChatTemplate with_default_system(std::string content) const;
  const std::optional<std::string>& default_system() const { return default_system_; }

 private:
  using Render = std::string (*)(std::span<const Message>, bool);
  ChatTemplate(std::string name, Render render, std::vector<std::string> stop_strings, std::string lead)
      : name_(std::move(name)), render_(render), stop_strings_(std::move(stop_strings)), lead_(std::move(lead)) {}

  static const std::vector<ChatTemplate>& all();

  std::string name_;
  Render render_;
  std::vector<std::string> stop_strings_;
  std::string lead_;  // BOS, as the template spells it
  Bos bos_ = Bos::Tokenizers;
  std::optional<std::string> default_system_ = {};
};

// The ids of a rendered conversation, with BOS exactly once where the tokenizer or the template has one, and without an
// EOS at the end that the tokenizer's post-processor would add (the answer is to follow).
Tokens encode_prompt(const tokenizers::Tokenizer& tokenizer, const ChatTemplate& chat,
                     std::span<const Message> messages, bool add_generation_prompt = true);

}  // namespace foretell::chat
