#include "framework/unicode/unicode.h"

#include <utf8proc.h>

#include "framework/core/printable.h"

namespace foretell::unicode {
namespace {

utf8proc_category_t category(char32_t code) { return utf8proc_category(static_cast<utf8proc_int32_t>(code)); }

bool between(utf8proc_category_t value, utf8proc_category_t first, utf8proc_category_t last) {
  return value >= first && value <= last;
}

bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

}  // namespace

Character at(std::string_view valid, std::size_t position) {
  const auto byte = [&](std::size_t offset) {
    return static_cast<char32_t>(static_cast<unsigned char>(valid[position + offset]));
  };
  const char32_t first = byte(0);
  if (first < 0x80) return {first, 1};
  if (first < 0xE0) return {(first & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (first < 0xF0) return {(first & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(first & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F), 4};
}

Character before(std::string_view valid, std::size_t position) {
  std::size_t start = position - 1;
  while (start > 0 && is_continuation(valid[start])) --start;
  return at(valid, start);
}

void append(std::string& out, char32_t code) {
  const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6), put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12), put(0x80 | (code >> 6 & 0x3F)), put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18), put(0x80 | (code >> 12 & 0x3F)), put(0x80 | (code >> 6 & 0x3F)), put(0x80 | (code & 0x3F));
  }
}

std::u32string to_utf32(std::string_view valid) {
  std::u32string codes;
  codes.reserve(valid.size());
  for (std::size_t i = 0; i < valid.size();) {
    const Character c = at(valid, i);
    codes.push_back(c.code);
    i += static_cast<std::size_t>(c.bytes);
  }
  return codes;
}

std::string to_utf8(std::u32string_view codes) {
  std::string out;
  out.reserve(codes.size());
  for (const char32_t code : codes) append(out, code);
  return out;
}

void Utf8Repair::push(std::string_view bytes, std::string& out) {
  for (const char byte : bytes) push(static_cast<unsigned char>(byte), out);
}

void Utf8Repair::push(unsigned char byte, std::string& out) {
  if (missing_ > 0) {
    if (byte >= lowest_ && byte <= highest_) {
      waiting_.push_back(static_cast<char>(byte));
      lowest_ = 0x80, highest_ = 0xBF;
      if (--missing_ == 0) {
        out += waiting_;
        waiting_.clear();
      }
      return;
    }
    finish(out);  // this byte starts something new
  }
  if (byte < 0x80) {
    out.push_back(static_cast<char>(byte));
  } else if (byte >= 0xC2 && byte <= 0xF4) {
    waiting_.assign(1, static_cast<char>(byte));
    missing_ = byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
    lowest_ = byte == 0xE0 ? 0xA0 : byte == 0xF0 ? 0x90 : 0x80;   // no overlong forms
    highest_ = byte == 0xED ? 0x9F : byte == 0xF4 ? 0x8F : 0xBF;  // no surrogates, nothing above U+10FFFF
  } else {
    out += kReplacement;
  }
}

void Utf8Repair::finish(std::string& out) {
  if (missing_ > 0) out += kReplacement;
  missing_ = 0;
  lowest_ = 0x80, highest_ = 0xBF;
  waiting_.clear();
}

std::string lossy(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  Utf8Repair repair;
  repair.push(bytes, out);
  repair.finish(out);
  return out;
}

bool is_valid(std::string_view bytes) { return lossy(bytes) == bytes; }

bool is_letter(char32_t code) { return between(category(code), UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_LO); }

bool is_mark(char32_t code) { return between(category(code), UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_ME); }

bool is_nonspacing_mark(char32_t code) { return category(code) == UTF8PROC_CATEGORY_MN; }

bool is_number(char32_t code) { return between(category(code), UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NO); }

bool is_punctuation(char32_t code) {
  if (code < 0x80)
    return code > 0x20 && code < 0x7F && !(code >= '0' && code <= '9') &&
           !((code | 0x20) >= 'a' && (code | 0x20) <= 'z');
  return between(category(code), UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_PO);
}

bool is_other(char32_t code) {
  const utf8proc_category_t value = category(code);
  return value == UTF8PROC_CATEGORY_CN || between(value, UTF8PROC_CATEGORY_CC, UTF8PROC_CATEGORY_CO);
}

bool is_space(char32_t code) {
  return (code >= 0x09 && code <= 0x0D) || code == 0x20 || code == 0x85 || code == 0xA0 || code == 0x1680 ||
         (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F ||
         code == 0x3000;
}

bool is_word(char32_t code) {
  const utf8proc_category_t value = category(code);
  const bool other_alphabetic = value == UTF8PROC_CATEGORY_NL || (code >= 0x24B6 && code <= 0x24E9) ||
                                (code >= 0x1F130 && code <= 0x1F149) || (code >= 0x1F150 && code <= 0x1F169) ||
                                (code >= 0x1F170 && code <= 0x1F189);
  return is_letter(code) || is_mark(code) || value == UTF8PROC_CATEGORY_ND || value == UTF8PROC_CATEGORY_PC ||
         other_alphabetic || code == 0x200C || code == 0x200D;
}

namespace {
bool is_python_space(char32_t code) { return is_space(code) || (code >= 0x1C && code <= 0x1F); }
}  // namespace

std::string_view stripped_start(std::string_view bytes) {
  const bool valid = is_valid(bytes);
  while (!bytes.empty() && (valid || static_cast<unsigned char>(bytes.front()) < 0x80)) {
    const Character first = at(bytes, 0);
    if (!is_python_space(first.code)) break;
    bytes.remove_prefix(static_cast<std::size_t>(first.bytes));
  }
  return bytes;
}

std::string_view stripped_end(std::string_view bytes) {
  const bool valid = is_valid(bytes);
  while (!bytes.empty() && (valid || static_cast<unsigned char>(bytes.back()) < 0x80)) {
    const Character last = before(bytes, bytes.size());
    if (!is_python_space(last.code)) break;
    bytes.remove_suffix(static_cast<std::size_t>(last.bytes));
  }
  return bytes;
}

std::string_view stripped(std::string_view bytes) { return stripped_end(stripped_start(bytes)); }

std::string printable(std::string_view bytes) {
  constexpr std::size_t kShown = 240;  // bytes
  return foretell::printable(excerpt(bytes, kShown));
}

}  // namespace foretell::unicode
