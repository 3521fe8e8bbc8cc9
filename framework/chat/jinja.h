// The part of Jinja that chat templates use for plain messages, run on one conversation.
//
// Contract: renders as Transformers does (trim_blocks, lstrip_blocks) or returns nothing: where the template has a
// syntax, a filter, a test or a function that is not known here, where it raises an exception of its own, and where it
// takes more than the bounds below. Only what is executed has to be known, so a branch for tools, which are never
// given, may hold anything. Never throws for what the template says.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "framework/chat/message.h"

namespace foretell::chat {

struct JinjaInput {
  std::span<const Message> messages;
  bool add_generation_prompt = true;
  std::string bos_token, eos_token;
};

struct JinjaLimits {
  std::size_t bytes = std::size_t{1} << 18;   // of the template
  std::size_t output = std::size_t{1} << 16;  // of what it renders, and of each text on the way
  int steps = 1 << 16;  // tags, texts and parts of expressions that are looked at; 64 bytes of text are one more
  int depth = 64;       // of blocks and of parentheses
};

// `why` becomes what is not known, in a few words, where nothing is returned.
std::optional<std::string> render_jinja(std::string_view text, const JinjaInput& input, const JinjaLimits& limits = {},
                                        std::string* why = nullptr);

}  // namespace foretell::chat
