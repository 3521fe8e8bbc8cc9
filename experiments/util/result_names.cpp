#include "experiments/util/result_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace foretell::util {
namespace {

constexpr std::size_t kLongestName = 255;  // of a file system

bool is_name_letter(unsigned char c) { return (c < 0x80 && std::isalnum(c)) || c == '-' || c == '_' || c == '.'; }

}  // namespace

bool is_cell_hash(std::string_view name) {
  return name.size() == 16 &&
         std::all_of(name.begin(), name.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string study_name_problem(std::string_view name) {
  if (name.empty()) return "is empty";
  if (name.front() == '.') return "begins with '.'";
  if (!std::all_of(name.begin(), name.end(), is_name_letter)) return "may hold letters, digits, '-', '_' and '.' only";
  if (name.size() > kLongestName)
    return fmt::format("has {} characters, at most {} are allowed", name.size(), kLongestName);
  return "";
}

}  // namespace foretell::util
