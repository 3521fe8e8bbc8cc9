// Text from outside as it can be shown: names, paths, values and answers may hold anything, and a terminal obeys what
// it is sent.
//
// Contract: valid UTF-8 passes but for what acts instead of being seen: control characters (C0, DEL, C1), marks that
// turn the direction of text (bidi) and other invisible format characters, line and paragraph separators. \n, \t and \r
// are written so, other ASCII controls and bytes that are not UTF-8 as \xNN, everything else as \u{NNNN}. Joiners
// (U+200C, U+200D) pass: emoji and several scripts are spelt with them. A backslash stands for itself, so the result is
// for reading and not for reading back.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace foretell {

// As part of one line.
std::string printable(std::string_view text);
// As lines: line feeds and tabs stay.
std::string printable_lines(std::string_view text);

// The beginning of a long text, at most `bytes` of it and never a part of a character, with "..." where something was
// left out.
std::string excerpt(std::string_view text, std::size_t bytes = 80);

}  // namespace foretell
