#include "framework/chat/chat_template.h"

#include <algorithm>

#include "framework/core/error.h"
#include "framework/unicode/unicode.h"

namespace foretell::chat {
namespace {

void check_roles(std::span<const Message> messages) {
  for (const Message& message : messages) {
    if (message.role != "system" && message.role != "user" && message.role != "assistant")
      fail("unknown role '{}' of a message; known: system, user, assistant", unicode::printable(message.role));
  }
}

// Vicuna v1.1 (FastChat): system sentence, then "USER: ... ASSISTANT: ...</s>", a space between the first two parts and
// none behind </s>.
std::string render_vicuna(std::span<const Message> messages, bool add_generation_prompt) {
  std::string text =
      "A chat between a curious user and an artificial intelligence assistant. "
      "The assistant gives helpful, detailed, and polite answers to the user's questions.";
  if (!messages.empty() && messages.front().role == "system") {
    text = messages.front().content;
    messages = messages.subspan(1);
  }
  text += ' ';
  for (const Message& message : messages) {
    if (message.role == "system") fail("the vicuna template takes a system message only at the start");
    text += message.role == "user" ? "USER: " + message.content + " " : "ASSISTANT: " + message.content + "</s>";
  }
  return add_generation_prompt ? text + "ASSISTANT:" : text;
}

std::string render_llama3(std::span<const Message> messages, bool add_generation_prompt) {
  std::string text;
  const auto header = [](std::string_view role) {
    return fmt::format("<|start_header_id|>{}<|end_header_id|>\n\n", role);
  };
  for (const Message& message : messages) {
    text += header(message.role);
    text += unicode::stripped(message.content);
    text += "<|eot_id|>";
  }
  return add_generation_prompt ? text + header("assistant") : text;
}

std::string render_chatml(std::span<const Message> messages, bool add_generation_prompt) {
  std::string text;
  for (const Message& message : messages)
    text += fmt::format("<|im_start|>{}\n{}<|im_end|>\n", message.role, message.content);
  return add_generation_prompt ? text + "<|im_start|>assistant\n" : text;
}

// The bare texts, one behind the other.
std::string render_none(std::span<const Message> messages, bool) {
  std::string text;
  for (const Message& message : messages) text += message.content;
  return text;
}

// What add_special puts before and behind a text.
struct Frame {
  Tokens before;
  Tokens behind;
};

Frame frame_of(const tokenizers::Tokenizer& tokenizer) {
  const Tokens empty = tokenizer.encode("", {.add_special = true, .parse_special = true});
  const std::string probe = "a";
  const Tokens bare = tokenizer.encode(probe, {.add_special = false, .parse_special = true});
  const Tokens framed = tokenizer.encode(probe, {.add_special = true, .parse_special = true});
  const auto at = std::search(framed.begin(), framed.end(), bare.begin(), bare.end());
  if (bare.empty() || at == framed.end()) return {empty, {}};
  return {{framed.begin(), at}, {at + static_cast<std::ptrdiff_t>(bare.size()), framed.end()}};
}

}  // namespace

const std::vector<ChatTemplate>& ChatTemplate::all() {
  static const std::vector<ChatTemplate> templates = {
      ChatTemplate("vicuna", render_vicuna, {}, ""),
      ChatTemplate("llama-3", render_llama3, {"<|eot_id|>"}, "<|begin_of_text|>"),
      ChatTemplate("chatml", render_chatml, {"<|im_end|>"}, ""),
      ChatTemplate("none", render_none, {}, ""),
  };
  return templates;
}

std::vector<std::string> ChatTemplate::names() {
  std::vector<std::string> names;
  for (const ChatTemplate& chat : all()) names.push_back(chat.name());
  return names;
}

const ChatTemplate& ChatTemplate::get(std::string_view name) {
  for (const ChatTemplate& chat : all())
    if (chat.name() == name) return chat;
  throw Error(unknown_name_message("chat template", name, names()));
}

std::string ChatTemplate::render(std::span<const Message> messages, bool add_generation_prompt) const {
  check_roles(messages);
  if (!default_system_ || (!messages.empty() && messages.front().role == "system"))
    return lead_ + render_(messages, add_generation_prompt);
  std::vector<Message> all = {{"system", *default_system_}};
  all.insert(all.end(), messages.begin(), messages.end());
  return lead_ + render_(all, add_generation_prompt);
}

std::vector<ChatTemplate> ChatTemplate::as_own(bool writes_bos_token) const {
  ChatTemplate bare = *this, spelled = *this;
  bare.bos_ = writes_bos_token ? Bos::Written : Bos::NotWritten;
  bare.lead_.clear();
  spelled.bos_ = Bos::NotWritten;
  return writes_bos_token || lead_.empty() ? std::vector{bare} : std::vector{bare, spelled};
}

ChatTemplate ChatTemplate::with_default_system(std::string content) const {
  ChatTemplate copy = *this;
  copy.default_system_ = std::move(content);
  return copy;
}

std::vector<Token> ChatTemplate::stop_tokens(const tokenizers::Tokenizer& tokenizer) const {
  std::vector<Token> ids = tokenizer.eos();
  for (const std::string& text : stop_strings_) {
    const auto id = tokenizer.token_to_id(text);
    if (id && std::find(ids.begin(), ids.end(), *id) == ids.end()) ids.push_back(*id);
  }
  return ids;
}

Tokens encode_prompt(const tokenizers::Tokenizer& tokenizer, const ChatTemplate& chat,
                     std::span<const Message> messages, bool add_generation_prompt) {
  const std::string text = chat.render(messages, add_generation_prompt);
  const auto encode = [&](const std::string& whole) {
    return tokenizer.encode(whole, {.add_special = false, .parse_special = true});
  };
  const auto bos = chat.bos() == ChatTemplate::Bos::Written ? tokenizer.bos() : std::nullopt;
  if (bos) {
    Tokens ids = encode(tokenizer.id_to_token(*bos) + text);
    if (!ids.empty() && ids.front() == *bos) return ids;
    ids = encode(text);
    ids.insert(ids.begin(), *bos);
    return ids;
  }
  Tokens ids = encode(text);
  if (chat.starts_with_bos() || chat.bos() != ChatTemplate::Bos::Tokenizers) return ids;
  const Tokens before = frame_of(tokenizer).before;
  ids.insert(ids.begin(), before.begin(), before.end());
  return ids;
}

}  // namespace foretell::chat
