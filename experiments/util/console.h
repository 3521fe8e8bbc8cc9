// Standard output and standard error.
//
// Contract: results go to standard output, everything else (progress, notes, errors) to standard error. A full disk
// behind standard output is an Error; a reader that went away is not: what follows is dropped. Colours only on a
// terminal, and not where NO_COLOR is set. Nothing from outside reaches a terminal with its control characters
// (framework/core/printable.h): every function here escapes them, but print_styled and print_error_styled, whose
// callers have done it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace foretell::util {

// For people: escaped wherever it goes.
void print_out(std::string_view text);
// An answer, or a file for another program: escaped on a terminal, as it is elsewhere. Call it with whole characters.
void print_exact(std::string_view text);
// A value and a line feed. Bytes that are not UTF-8 are replaced; what a terminal would obey is written as \uNNNN
// there.
void print_json(const nlohmann::ordered_json& value, int indent = -1);
// Text with colours: what came from outside is escaped already.
void print_styled(std::string_view text);
void flush_out();

void print_error(std::string_view text);
// "note: ..." on a line of its own, on standard error; the same words once in a process.
void print_note(const std::string& text);
// Text with colours, or movements of the cursor; escaped already.
void print_error_styled(std::string_view sequence);
// A line that replaces the one that was written last, on a terminal; elsewhere a line. `open`: it will be replaced in
// its turn.
void print_error_line(std::string_view text, bool open = false);

bool out_is_terminal();
// How wide the terminal is; 0 where there is none.
int out_columns();
bool error_is_terminal();

// Without line breaks: each run of white space that contains one becomes a single space.
std::string one_line(std::string_view text);

// Lines of at most this many columns, broken at blanks: what follows stands below the second column of the line, "
// --name   words", or below its first word. 0: as they are, and so is a word that is longer.
std::string wrapped_lines(std::string_view text, int columns);

enum class Colour { Plain, Green, Red, Blue, Yellow, Dim };
// For print_styled.
std::string painted(Colour colour, std::string_view text);

}  // namespace foretell::util
