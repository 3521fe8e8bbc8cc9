// The chat template that a model's folder brings along, where it is one of those that are known by name.
//
// Contract: the template stands in chat_template.jinja, else in tokenizer_config.json, as a text or as a list of named
// ones whose "default" counts. It is recognised by what it renders: the subset of Jinja in jinja.h runs it on
// conversations of every shape that a prompt can have (an optional system message, then user and assistant in turn, the
// user last), and all of them must come out as the known template's, to the byte. A system message that a template puts
// in front of conversations without one is kept, and so is whether the text begins with BOS. Torch-free; bytes in, so
// that fuzzers need no files.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "framework/chat/chat_template.h"

namespace foretell::chat {

struct OwnTemplate {
  std::string file;  // that it stands in
  std::string text;
};

// Nothing where the folder has none. An Error for a file that is not what it should be.
std::optional<OwnTemplate> find_own_template(const std::filesystem::path& folder);

// Of the bytes of a tokenizer_config.json; `name` is what an Error calls them.
std::optional<std::string> parse_own_template(std::string_view tokenizer_config, const std::string& name);

// Nothing if it is none of the known ones, or may not be. `eos_token` is what the template may write as that; `why`
// becomes the construct that is not understood, if one stands in the way of rendering a plain question.
std::optional<ChatTemplate> recognise_template(std::string_view text, const std::string& eos_token,
                                               std::string* why = nullptr);

}  // namespace foretell::chat
