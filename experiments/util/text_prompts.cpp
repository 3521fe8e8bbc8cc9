#include "experiments/util/text_prompts.h"

#include <algorithm>

namespace foretell::util {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";

}  // namespace

std::vector<std::string> cut_prompts(std::string_view text, int count, int characters) {
  std::vector<std::string> prompts;
  const auto length = static_cast<std::size_t>(characters);
  std::size_t after = 0;  // the end of the last prompt
  for (int i = 0; i < count; ++i) {
    std::size_t begin = std::max(text.size() / static_cast<std::size_t>(count) * static_cast<std::size_t>(i), after);
    if (begin > 0) begin = text.find('\n', begin - 1);
    begin = text.find_first_not_of(kBlanks, begin);
    if (begin == std::string_view::npos || begin + length > text.size()) break;
    const std::size_t word = text.find_last_of(kBlanks, begin + length);
    const std::size_t last =
        word == std::string_view::npos || word <= begin ? text.find_first_of(kBlanks, begin) : word;
    const std::string_view cut = text.substr(begin, std::min(last, text.size()) - begin);
    prompts.emplace_back(cut.substr(0, cut.find_last_not_of(kBlanks) + 1));
    after = begin + cut.size();
  }
  return prompts;
}

}  // namespace foretell::util
