// An answer's text as it grows.
//
// Contract: push() gives the text that can be shown now, finish() the rest; joined they are the answer's text up to
// where a stop string begins. While there are stop strings, so much is held back that no part of one is ever shown.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "framework/tokenizers/tokenizer.h"

namespace foretell::util {

class TextStream {
 public:
  TextStream(std::shared_ptr<const tokenizers::Tokenizer> tokenizer, TokenSpan prompt,
             std::vector<std::string> stop_strings);
  std::string push(TokenSpan tokens);
  std::string finish();

 private:
  std::string release(bool all);

  tokenizers::StreamDecoder decoder_;
  std::vector<std::string> stop_strings_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace foretell::util
