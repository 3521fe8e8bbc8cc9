// Small helpers for text.
#pragma once

#include <concepts>
#include <string>
#include <string_view>

namespace foretell {

// Without the ASCII white space at both ends.
inline std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\n\r\f\v";
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

// "1 thread", "2 threads": every message that counts. `many` where it is not `one` with an s.
template <std::integral Count>
std::string counted(Count count, std::string_view one, std::string_view many = {}) {
  std::string out = std::to_string(count);
  out += ' ';
  if (count == 1) return out += one;
  return many.empty() ? (out += one) += 's' : out += many;
}

}  // namespace foretell
