// Cuts a text at special tokens that are written out in it, for the formats whose own libraries leave that to their
// callers.
#pragma once

#include <string_view>

#include "framework/core/types.h"
#include "framework/tokenizers/stages/byte_trie.h"

namespace foretell::tokenizers::stages {

// Calls special(id) and plain(part) in the order of the text; `specials` has ids as values. Without `parse` all of it
// is plain.
template <class Special, class Plain>
void cut_at_specials(std::string_view text, const ByteTrie& specials, bool parse, Special&& special, Plain&& plain) {
  std::size_t done = 0;
  for (std::size_t i = 0; parse && i < text.size();) {
    std::size_t end = i;
    Token id = 0;
    specials.walk(text, i, [&](std::size_t match_end, Token value) { end = match_end, id = value; });
    if (end == i) {
      ++i;
      continue;
    }
    if (done < i) plain(text.substr(done, i - done));
    special(id);
    done = i = end;
  }
  if (done < text.size()) plain(text.substr(done));
}

}  // namespace foretell::tokenizers::stages
