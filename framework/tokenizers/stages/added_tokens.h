// Tokens that are found in the text itself, before the model sees the rest.
//
// Contract: matches are taken leftmost, the longest first, and do not overlap. Tokens that are not `normalized` are
// looked for in the text as it came, the others in what the normalizer makes of the rest (and by their own normalized
// text).
#pragma once

#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "framework/io/json_reader.h"
#include "framework/tokenizers/stages/byte_trie.h"
#include "framework/tokenizers/stages/normalizer.h"
#include "framework/tokenizers/stages/vocab.h"
#include "framework/unicode/regex.h"

namespace foretell::tokenizers::stages {

struct AddedToken {
  std::string content;
  Token id;
  bool single_word;  // only between characters that are not of words
  bool lstrip;       // takes the white space before it
  bool rstrip;       // takes the white space behind it
  bool normalized;
  bool special;
};

// A part of a text: a token, or text between tokens.
struct Segment {
  unicode::TextRange range;
  std::optional<Token> token;
};

class AddedTokens {
 public:
  AddedTokens() = default;
  AddedTokens(const io::JsonView* list, const Vocab& model_vocab, const Normalizer* normalizer);

  std::vector<Segment> split_raw(std::string_view text, bool parse_special) const {
    return split(text, raw_, parse_special);
  }
  std::vector<Segment> split_normalized(std::string_view text, bool parse_special) const {
    return split(text, normalized_, parse_special);
  }

  const Vocab& vocab() const { return vocab_; }
  bool is_special(std::string_view content) const { return special_.contains(std::string(content)); }

 private:
  void add(const io::JsonView& json, const Vocab& model_vocab);
  std::vector<Segment> split(std::string_view text, const ByteTrie& trie, bool parse_special) const;

  std::vector<AddedToken> tokens_;
  Vocab vocab_;
  std::unordered_set<std::string> special_;
  ByteTrie raw_;  // values are indices of tokens_
  ByteTrie normalized_;
};

}  // namespace foretell::tokenizers::stages
