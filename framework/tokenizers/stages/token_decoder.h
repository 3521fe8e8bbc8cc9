// The decoders of a tokenizer.json: token texts back to text, as a chain of stages.
//
// Contract: a TokenDecoder is immutable; make_stages() gives the state of one decoding. Tokens flow through the stages
// as begin, text (any number of parts, each of whole characters), end; a stage passes on what no later input can change
// and holds back the rest until its finish(). Decoding a whole sequence is the same chain, so streaming and whole
// decoding cannot differ. Replacements that together could make a text more than a thousand times as long are refused
// when the file is read.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "framework/io/json_reader.h"

namespace foretell::tokenizers::stages {

class DecodeStage {
 public:
  virtual ~DecodeStage() = default;
  virtual void begin() { next_->begin(); }
  virtual void text(std::string_view part) { next_->text(part); }
  virtual void end() { next_->end(); }
  virtual void finish() { next_->finish(); }
  void set_next(DecodeStage* next) { next_ = next; }

 protected:
  void pass(std::string_view token) {
    next_->begin();
    next_->text(token);
    next_->end();
  }

  DecodeStage* next_ = nullptr;
};

using DecodeStages = std::vector<std::unique_ptr<DecodeStage>>;

class TokenDecoder {
 public:
  TokenDecoder();  // a file without decoder: tokens joined by spaces
  explicit TokenDecoder(const io::JsonView& json);
  DecodeStages make_stages() const;  // connected, the last one not yet

 private:
  double read(const io::JsonView& json);  // how many times as long it may make a text

  std::vector<std::function<std::unique_ptr<DecodeStage>()>> factories_;
};

}  // namespace foretell::tokenizers::stages
