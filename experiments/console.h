// Standard output and standard error.
//
// Contract: results go to standard output, everything else (progress, notes, errors) to standard error. A full disk behind standard output is an
// Error; a reader that went away is not: what follows is dropped. Colours only on a terminal, and not where NO_COLOR is set.
#pragma once

#include <string>
#include <string_view>

namespace foretell {

void print_out(std::string_view text);
void flush_out();
void print_error(std::string_view text);

bool out_is_terminal();
bool error_is_terminal();

// Without line breaks: each run of white space that contains one becomes a single space.
std::string one_line(std::string_view text);

// Text as it can stand in one line of a table: line breaks, tabs and other control characters are written as escapes.
std::string visible(std::string_view text);

enum class Colour { Plain, Green, Red, Blue, Yellow, Dim };
// For standard output.
std::string painted(Colour colour, std::string_view text);

}  // namespace foretell
