// Byte-level text: each byte stands as one printable character, so that a vocabulary of characters covers all bytes.
//
// The 188 bytes that are printable in Latin-1 stand for themselves; the other 68, in rising order, are U+0100 and up.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/unicode/regex.h"

namespace foretell::tokenizers::stages::byte_level {

std::string to_characters(std::string_view bytes);
void append_character(std::string& out, unsigned char byte);
std::optional<unsigned char> to_byte(char32_t character);

// GPT-2's words: an English contraction ('s 't 're 've 'm 'll 'd); or letters, or numbers, or other signs, each with
// one space before if there is one; or white space, whose last character is left to the word that follows. Ranges cover
// `text` without gaps and are shifted by `offset`.
void split_words(std::string_view text, std::size_t offset, std::vector<unicode::TextRange>& out);

}  // namespace foretell::tokenizers::stages::byte_level
