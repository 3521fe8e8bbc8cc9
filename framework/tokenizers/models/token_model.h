// The model of a tokenizer.json: pieces of text to ids.
//
// Contract: immutable and thread-safe. tokenize() appends; its time grows with n log n of the text at most (Unigram and
// WordPiece: times the longest entry of the vocabulary).
#pragma once

#include <memory>

#include "framework/io/json_reader.h"
#include "framework/tokenizers/stages/pre_tokenizer.h"
#include "framework/tokenizers/stages/vocab.h"

namespace foretell::tokenizers::models {

class TokenModel {
 public:
  virtual ~TokenModel() = default;
  virtual void tokenize(const tokenizers::stages::Pieces& pieces, Tokens& out) const = 0;
  virtual std::string name() const = 0;  // "BPE"
  const tokenizers::stages::Vocab& vocab() const { return vocab_; }

 protected:
  // For "vocab": {"text": id, ...}.
  void read_vocab_object(const io::JsonView& json);

  tokenizers::stages::Vocab vocab_;
};

std::unique_ptr<const TokenModel> make_token_model(const io::JsonView& json);

// The kinds, each in its own file.
std::unique_ptr<const TokenModel> make_bpe(const io::JsonView& json);
std::unique_ptr<const TokenModel> make_unigram(const io::JsonView& json);
std::unique_ptr<const TokenModel> make_word_level(const io::JsonView& json);
std::unique_ptr<const TokenModel> make_word_piece(const io::JsonView& json);

// "<0x0A>"
std::string byte_token(unsigned char byte);

}  // namespace foretell::tokenizers::models
