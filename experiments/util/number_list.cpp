#include "experiments/util/number_list.h"

#include <charconv>
#include <cstdint>

#include "framework/core/error.h"
#include "framework/core/printable.h"

namespace foretell::util {
namespace {

std::vector<std::string_view> words(std::string_view text) {
  std::vector<std::string_view> out;
  std::size_t at = 0;
  while ((at = text.find_first_not_of(" ,\t\n", at)) != std::string_view::npos) {
    const std::size_t end = std::min(text.find_first_of(" ,\t\n", at), text.size());
    out.push_back(text.substr(at, end - at));
    at = end;
  }
  return out;
}

int parse_one(std::string_view word, std::string_view option, int smallest) {
  int value = 0;
  const auto [stop, code] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (code != std::errc{} || stop != word.data() + word.size() || value < smallest)
    fail("{}: expected integers of at least {} such as \"1 2 3\", found '{}'", option, smallest, excerpt(word, 40));
  return value;
}

}  // namespace

Tokens parse_ids(std::string_view text, std::string_view option) {
  Tokens ids;
  for (const std::string_view word : words(text)) ids.push_back(parse_one(word, option, 0));
  return ids;
}

std::vector<int> parse_positive_list(std::string_view text, std::string_view option) {
  std::vector<int> out;
  for (const std::string_view word : words(text)) out.push_back(parse_one(word, option, 1));
  if (out.empty()) fail("{}: expected at least one number", option);
  return out;
}

std::vector<int> parse_tree(std::string_view text, std::string_view option) {
  constexpr std::int64_t kMostNodes = 1 << 20;
  std::vector<int> out = parse_positive_list(text, option);
  if (out.front() != 1) fail("{}: {} nodes at depth 0, expected 1: the last committed token", option, out.front());
  std::int64_t nodes = 0;
  for (const int at_depth : out) nodes += at_depth;
  if (nodes > kMostNodes) fail("{}: {} nodes, at most {}", option, nodes, kMostNodes);
  return out;
}

}  // namespace foretell::util
