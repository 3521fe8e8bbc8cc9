#include "framework/core/printable.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>

namespace foretell {
namespace {

bool acts_on_a_terminal(std::int32_t code) {
  constexpr std::int32_t kNonJoiner = 0x200c, kJoiner = 0x200d;
  if (code == kNonJoiner || code == kJoiner) return false;
  switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return true;
    default: return false;
  }
}

std::string escaped(std::int32_t code) {
  switch (code) {
    case '\n': return "\\n";
    case '\t': return "\\t";
    case '\r': return "\\r";
    default: return code < 0x80 ? fmt::format("\\x{:02x}", code) : fmt::format("\\u{{{:x}}}", code);
  }
}

// What `kept` names stays although it is a control character.
std::string without_controls(std::string_view text, std::string_view kept) {
  std::string out;
  out.reserve(text.size());
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(text.data());
  const auto size = static_cast<std::ptrdiff_t>(text.size());
  for (std::ptrdiff_t at = 0; at < size;) {
    std::int32_t code = 0;
    const std::ptrdiff_t length = utf8proc_iterate(bytes + at, size - at, &code);
    if (length <= 0) {
      out += fmt::format("\\x{:02x}", bytes[at++]);
      continue;
    }
    const std::string_view character = text.substr(at, length);
    if (acts_on_a_terminal(code) && kept.find(character) == std::string_view::npos)
      out += escaped(code);
    else
      out += character;
    at += length;
  }
  return out;
}

}  // namespace

std::string printable(std::string_view text) { return without_controls(text, ""); }

std::string printable_lines(std::string_view text) { return without_controls(text, "\n\t"); }

std::string excerpt(std::string_view text, std::size_t bytes) {
  if (text.size() <= bytes) return std::string(text);
  // A character has at most three further bytes; what has more is not UTF-8 and may be cut anywhere.
  const std::size_t earliest = bytes - std::min<std::size_t>(bytes, 3);
  std::size_t end = bytes;
  while (end > earliest && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "...";
}

}  // namespace foretell
