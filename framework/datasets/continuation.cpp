#include "framework/datasets/continuation.h"

namespace foretell::datasets {

ContinuationEncoder::ContinuationEncoder(std::shared_ptr<const tokenizers::Tokenizer> tokenizer)
    : tokenizer_(std::move(tokenizer)) {
  const Tokens letter = tokenizer_->encode("a");
  adds_space_ = tokenizers::decode_continuation(tokenizer_, letter, letter).starts_with(' ');
  if (!adds_space_) return;
  for (Token token = 0; token < tokenizer_->vocab_size(); ++token)
    starts_word_.push_back(tokenizers::decode_continuation(tokenizer_, letter, TokenSpan(&token, 1)).starts_with(' '));
}

bool ContinuationEncoder::can_start_at(Token token) const {
  return !adds_space_ ||
         (token >= 0 && token < tokenizer_->vocab_size() && starts_word_[static_cast<std::size_t>(token)]);
}

Tokens ContinuationEncoder::encode(std::string_view text) const {
  if (adds_space_ && text.starts_with(' ')) text.remove_prefix(1);
  return tokenizer_->encode(text);
}

}  // namespace foretell::datasets
