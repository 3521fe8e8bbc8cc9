// The regular expressions that tokenizer files name.
//
// Contract: files are written for the Oniguruma engine (Ruby syntax); the pattern is translated where PCRE2 reads the
// same text differently and then compiled in UTF mode. A pattern that has no PCRE2 meaning is an Error that quotes it.
// Matching is const and thread-safe; text is valid UTF-8; a pattern that backtracks without end is stopped with an
// Error.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace foretell::unicode {

struct TextRange {
  std::size_t begin;
  std::size_t end;
  friend bool operator==(const TextRange&, const TextRange&) = default;
};

class Regex {
 public:
  Regex(std::string_view pattern, const std::string& where);
  std::vector<TextRange> find_all(std::string_view text) const;  // leftmost first, not overlapping

 private:
  struct Compiled;
  std::shared_ptr<const Compiled> compiled_;
};

// The same pattern in PCRE2's syntax; for tests.
std::string translate_pattern(std::string_view pattern, const std::string& where);

}  // namespace foretell::unicode
