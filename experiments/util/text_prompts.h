// Prompts cut out of running text, for models that continue it.
//
// Contract: places are spread evenly over the text. A prompt begins with a line and has about the characters that were
// asked for, white space at its ends left out; it ends with a whole word. Two prompts are never the same place; fewer
// come back where the text is too short for all.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace foretell::util {

// `text` is valid UTF-8; `characters` are bytes of it.
std::vector<std::string> cut_prompts(std::string_view text, int count, int characters);

}  // namespace foretell::util
