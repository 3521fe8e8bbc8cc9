#include "framework/unicode/unicode_normal_form.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <vector>

#include "framework/core/error.h"
#include "framework/unicode/unicode.h"

namespace foretell::unicode {
namespace {

int combining_class(utf8proc_int32_t code) { return utf8proc_get_property(code)->combining_class; }

// Marks of one run are ordered by class. utf8proc's own ordering exchanges neighbours, which is quadratic in the run's
// length.
void order_marks(std::vector<utf8proc_int32_t>& codes) {
  for (std::size_t i = 0; i < codes.size();) {
    if (combining_class(codes[i]) == 0) {
      ++i;
      continue;
    }
    std::size_t end = i;
    while (end < codes.size() && combining_class(codes[end]) != 0) ++end;
    const auto first = codes.begin() + static_cast<std::ptrdiff_t>(i);
    std::stable_sort(first, codes.begin() + static_cast<std::ptrdiff_t>(end),
                     [](utf8proc_int32_t a, utf8proc_int32_t b) { return combining_class(a) < combining_class(b); });
    i = end;
  }
}

std::vector<utf8proc_int32_t> decompose(std::string_view valid, NormalForm form) {
  const auto options =
      static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_STABLE | (form.compatibility ? UTF8PROC_COMPAT : 0));
  std::vector<utf8proc_int32_t> codes;
  codes.reserve(valid.size());
  std::array<utf8proc_int32_t, 64> parts;  // the longest decomposition of one character has 18
  for (std::size_t i = 0; i < valid.size();) {
    const Character c = at(valid, i);
    i += static_cast<std::size_t>(c.bytes);
    int boundary = 0;
    const auto written =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c.code), parts.data(), parts.size(), options, &boundary);
    FORETELL_CHECK(written >= 0 && written <= static_cast<utf8proc_ssize_t>(parts.size()), "U+{:04X} gave {}",
                   static_cast<unsigned>(c.code), written);
    codes.insert(codes.end(), parts.begin(), parts.begin() + written);
  }
  return codes;
}

}  // namespace

std::string normalize(std::string_view valid, NormalForm form) {
  if (std::all_of(valid.begin(), valid.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; }))
    return std::string(valid);
  std::vector<utf8proc_int32_t> codes = decompose(valid, form);
  order_marks(codes);
  if (form.compose) {
    const auto options = static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    const auto length = utf8proc_normalize_utf32(codes.data(), static_cast<utf8proc_ssize_t>(codes.size()), options);
    FORETELL_CHECK(length >= 0, "composition gave {}", length);
    codes.resize(static_cast<std::size_t>(length));
  }
  std::string out;
  out.reserve(valid.size());
  for (const utf8proc_int32_t code : codes) append(out, static_cast<char32_t>(code));
  return out;
}

char32_t to_lower_simple(char32_t code) {
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code)));
}

}  // namespace foretell::unicode
