#include "framework/tokenizers/stages/byte_level.h"

#include <array>

#include "framework/unicode/unicode.h"

namespace foretell::tokenizers::stages::byte_level {
namespace {

constexpr bool stands_for_itself(int byte) { return (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD); }

struct Tables {
  std::array<char32_t, 256> character{};
  std::array<int, 0x144> byte{};  // 0x100 + 68 characters; -1 where no byte has that character

  constexpr Tables() {
    byte.fill(-1);
    char32_t next = 0x100;
    for (int b = 0; b < 256; ++b) {
      character[static_cast<std::size_t>(b)] = stands_for_itself(b) ? static_cast<char32_t>(b) : next++;
      byte[character[static_cast<std::size_t>(b)]] = b;
    }
  }
};
constexpr Tables kTables;

enum class Kind { kLetter, kNumber, kSpace, kOther };

Kind kind_of(char32_t code) {
  if (code < 0x80) {
    if ((code | 0x20) >= 'a' && (code | 0x20) <= 'z') return Kind::kLetter;
    if (code >= '0' && code <= '9') return Kind::kNumber;
    return unicode::is_space(code) ? Kind::kSpace : Kind::kOther;
  }
  if (unicode::is_letter(code)) return Kind::kLetter;
  if (unicode::is_number(code)) return Kind::kNumber;
  return unicode::is_space(code) ? Kind::kSpace : Kind::kOther;
}

// The length of the contraction that starts `text`, or 0.
std::size_t contraction(std::string_view text) {
  if (!text.starts_with('\'')) return 0;
  for (const std::string_view ending : {"s", "t", "re", "ve", "m", "ll", "d"})
    if (text.substr(1).starts_with(ending)) return 1 + ending.size();
  return 0;
}

std::size_t end_of_run(std::string_view text, std::size_t position, Kind kind) {
  while (position < text.size()) {
    const unicode::Character c = unicode::at(text, position);
    if (kind_of(c.code) != kind) break;
    position += static_cast<std::size_t>(c.bytes);
  }
  return position;
}

std::size_t end_of_word(std::string_view text, std::size_t begin) {
  if (const std::size_t length = contraction(text.substr(begin))) return begin + length;
  const std::size_t inner = begin + (text[begin] == ' ' && begin + 1 < text.size() ? 1 : 0);
  const Kind kind = kind_of(unicode::at(text, inner).code);
  if (kind != Kind::kSpace) return end_of_run(text, inner, kind);
  const std::size_t end = end_of_run(text, begin, Kind::kSpace);
  if (end == text.size()) return end;
  const std::size_t last = end - static_cast<std::size_t>(unicode::before(text, end).bytes);
  return last > begin ? last : end;
}

}  // namespace

void append_character(std::string& out, unsigned char byte) { unicode::append(out, kTables.character[byte]); }

std::string to_characters(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() + bytes.size() / 4);
  for (const char byte : bytes) append_character(out, static_cast<unsigned char>(byte));
  return out;
}

std::optional<unsigned char> to_byte(char32_t character) {
  if (character >= kTables.byte.size() || kTables.byte[character] < 0) return std::nullopt;
  return static_cast<unsigned char>(kTables.byte[character]);
}

void split_words(std::string_view text, std::size_t offset, std::vector<unicode::TextRange>& out) {
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = end_of_word(text, begin);
    out.push_back({offset + begin, offset + end});
    begin = end;
  }
}

}  // namespace foretell::tokenizers::stages::byte_level
