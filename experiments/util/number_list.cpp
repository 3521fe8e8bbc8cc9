#include "experiments/util/number_list.h"

#include <charconv>
#include <cstdint>
#include <optional>

#include "framework/core/error.h"
#include "framework/core/printable.h"
#include "framework/core/text.h"

namespace foretell::util {
namespace {

constexpr std::string_view kBlanks = " \t\n";

// The entries, which blanks or single commas separate.
std::vector<std::string_view> words(std::string_view text, std::string_view option) {
  std::vector<std::string_view> out;
  bool comma = false;  // behind the last entry
  for (std::size_t at = 0; (at = text.find_first_not_of(kBlanks, at)) != std::string_view::npos;) {
    if (text[at] == ',') {
      if (comma || out.empty()) fail("{}: an empty entry in '{}'", option, excerpt(text, 40));
      comma = true;
      ++at;
      continue;
    }
    const std::size_t end = std::min(text.find_first_of(" ,\t\n", at), text.size());
    out.push_back(text.substr(at, end - at));
    comma = false;
    at = end;
  }
  if (comma) fail("{}: an empty entry in '{}'", option, excerpt(text, 40));
  return out;
}

template <class Number>
std::optional<Number> number_in(std::string_view word) {
  Number value{};
  const auto [stop, code] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (code != std::errc{} || stop != word.data() + word.size()) return std::nullopt;
  return value;
}

int parse_one(std::string_view word, std::string_view option, int least, int most) {
  const std::optional<int> value = number_in<int>(word);
  if (value && *value >= least && *value <= most) return *value;
  const std::string range = most == std::numeric_limits<int>::max() ? fmt::format("of at least {}", least)
                                                                    : fmt::format("from {} to {}", least, most);
  fail("{}: expected integers {} such as \"1 2 3\", found '{}'", option, range, excerpt(word, 40));
}

}  // namespace

Tokens parse_ids(std::string_view text, std::string_view option) {
  Tokens ids;
  for (const std::string_view word : words(text, option))
    ids.push_back(parse_one(word, option, 0, std::numeric_limits<int>::max()));
  return ids;
}

std::vector<int> parse_positive_list(std::string_view text, std::string_view option, int most) {
  std::vector<int> out;
  for (const std::string_view word : words(text, option)) out.push_back(parse_one(word, option, 1, most));
  if (out.empty()) fail("{}: expected at least one number", option);
  return out;
}

std::vector<double> parse_probabilities(std::string_view text, std::string_view option) {
  std::vector<double> out;
  for (const std::string_view word : words(text, option)) {
    const std::optional<double> value = number_in<double>(word);
    if (!value || !(*value >= 0 && *value <= 1))
      fail("{}: expected probabilities such as \"0.8\" or \"0.8,0.7,0.6\", found '{}'", option, excerpt(word, 40));
    out.push_back(*value);
  }
  if (out.empty()) fail("{}: expected at least one probability", option);
  return out;
}

std::vector<int> parse_tree(std::string_view text, std::string_view option) {
  constexpr std::int64_t kMostNodes = 1 << 20;
  std::vector<int> out = parse_positive_list(text, option);
  if (out.front() != 1)
    fail("{}: {} at depth 0, expected 1: the last committed token", option, counted(out.front(), "node"));
  std::int64_t nodes = 0;
  for (const int at_depth : out) nodes += at_depth;
  if (nodes > kMostNodes) fail("{}: {}, at most {}", option, counted(nodes, "node"), kMostNodes);
  return out;
}

}  // namespace foretell::util
