// A word of a command that is printed to be copied into a shell.
//
// Contract: a shell reads the word back as the same bytes, and nothing in it is obeyed. It is one line, quoted only
// where it has to be.
#pragma once

#include <string>
#include <string_view>

namespace foretell::util {

std::string shell_quoted(std::string_view word);

}  // namespace foretell::util
