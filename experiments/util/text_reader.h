// A model reading a given text: what it says behind every token of it.
//
// Contract: rows are asked for in order and computed a chunk at a time, so that the memory of the logits is bounded.
// The reader has a cache of its own; model and tokens must outlive it.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>

#include "framework/model/language_model.h"

namespace foretell::util {

class TextReader {
 public:
  // No more tokens than the model's context.
  TextReader(const model::LanguageModel& model, TokenSpan tokens);

  // The logits [vocab] of what follows tokens[row]. `row` is not below the last one asked for.
  std::span<const float> row(std::size_t row);

 private:
  const model::LanguageModel& model_;
  TokenSpan tokens_;
  std::unique_ptr<model::KvCache> cache_;
  at::Tensor logits_;
  std::size_t begin_ = 0, rows_ = 0;
};

// The natural logarithm of softmax(logits)[token]. An Error for a NaN.
double log_probability(std::span<const float> logits, Token token);

}  // namespace foretell::util
