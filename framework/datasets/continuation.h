// Tokenising text that continues other text.
//
// Contract: some tokenizers put a space in front of whatever they encode (SentencePiece's dummy prefix). There a
// continuation can only be tokenised from the start of a word, whose own space is then left to the tokenizer; for the
// others every place will do.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "framework/tokenizers/tokenizer.h"

namespace foretell::datasets {

class ContinuationEncoder {
 public:
  explicit ContinuationEncoder(std::shared_ptr<const tokenizers::Tokenizer> tokenizer);

  const std::shared_ptr<const tokenizers::Tokenizer>& tokenizer() const { return tokenizer_; }
  // Whether the text from this token on can be tokenised anew.
  bool can_start_at(Token token) const;
  // Whether this text can be tokenised where it continues other text.
  bool can_encode(std::string_view text) const { return !adds_space_ || text.starts_with(' '); }
  Tokens encode(std::string_view text) const;

 private:
  std::shared_ptr<const tokenizers::Tokenizer> tokenizer_;
  bool adds_space_ = false;
  std::vector<bool> starts_word_;  // by token; only filled where it matters
};

}  // namespace foretell::datasets
