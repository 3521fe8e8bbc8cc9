// UTF-8 and the few character classes that tokenizers are defined by.
//
// Contract: "valid" text is UTF-8 without surrogates or overlong forms. Functions that take a position assume valid
// text and a position on a character's first byte; everything that comes from outside goes through lossy() or
// Utf8Repair first.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace foretell::unicode {

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD, which stands for what is not UTF-8

struct Character {
  char32_t code;
  int bytes;  // its length in UTF-8
};

Character at(std::string_view valid, std::size_t position);
Character before(std::string_view valid, std::size_t position);  // the character that ends at position > 0
void append(std::string& out, char32_t code);
std::u32string to_utf32(std::string_view valid);
std::string to_utf8(std::u32string_view codes);

bool is_valid(std::string_view bytes);

// Replaces what is not UTF-8 by U+FFFD, one for each maximal prefix of a character, as the Unicode standard recommends.
std::string lossy(std::string_view bytes);

// lossy() for bytes that come in pieces: whole characters are passed on, an unfinished one waits for its next byte.
class Utf8Repair {
 public:
  void push(std::string_view bytes, std::string& out);
  void finish(std::string& out);

 private:
  void push(unsigned char byte, std::string& out);

  std::string waiting_;
  int missing_ = 0;              // bytes that the waiting character still needs
  unsigned char lowest_ = 0x80;  // what its next byte may be: E0, ED, F0 and F4 narrow it
  unsigned char highest_ = 0xBF;
};

bool is_letter(char32_t code);           // L
bool is_mark(char32_t code);             // M
bool is_nonspacing_mark(char32_t code);  // Mn
bool is_number(char32_t code);           // N
bool is_punctuation(char32_t code);      // P, and the ASCII symbols
bool is_other(char32_t code);            // C: control, format, unassigned, private use, surrogate
bool is_space(char32_t code);            // the White_Space property
bool is_word(char32_t code);             // \w: alphabetic, mark, decimal number, connector, joiner

// Without the white space at both ends, as Python's str.strip() takes it: is_space() and U+001C to U+001F. Of bytes
// that are not UTF-8 only ASCII's.
std::string_view stripped(std::string_view bytes);
std::string_view stripped_start(std::string_view bytes);
std::string_view stripped_end(std::string_view bytes);

// For messages: the beginning of it as framework/core/printable.h writes it.
std::string printable(std::string_view bytes);

}  // namespace foretell::unicode
