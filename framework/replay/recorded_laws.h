// The target's laws along one recorded answer, cut to their most probable tokens.
//
// Contract: for each token of the answer, the log probabilities (natural, unwarped: before temperature and cuts) of the
// top tokens and of the token itself, and the mass of all others, `rest`. row() makes logits of it again: stored tokens
// keep their log probability, the others share the rest in equal parts. So the recorded token's probability at
// temperature 1 is exact whatever was cut off; an error of at most `rest` in total variation is in the rest of the law,
// and in everything once another temperature renormalises it. Positions count from 0, the answer's first token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "framework/api/request.h"
#include "framework/core/types.h"

namespace foretell::replay {

struct RecordedLaw {
  Token token;                               // that was emitted
  float log_probability;                     // its own
  float rest;                                // [1] the mass of what is neither the token nor one of `tokens`
  TokenSpan tokens;                          // most probable first
  std::span<const float> log_probabilities;  // of these
};

class RecordedLaws final : public RequestData {
 public:
  explicit RecordedLaws(int vocab) : vocab_(vocab) {}

  // The law of a row of raw logits [vocab] at which `token` was emitted. An Error on NaN.
  void add(std::span<const float> logits, Token token, int top_k);
  // As read from a file; tokens are distinct and in the vocabulary.
  void add(const RecordedLaw& law);

  int size() const { return static_cast<int>(tokens_.size()); }
  int vocab() const { return vocab_; }
  RecordedLaw operator[](int position) const;
  TokenSpan answer() const { return tokens_; }
  // [vocab] logits whose softmax at temperature 1 is the law.
  std::vector<float> row(int position) const;
  // The recorded laws of the first `count` tokens.
  RecordedLaws first(int count) const;

 private:
  int vocab_;
  Tokens tokens_;
  std::vector<float> log_probabilities_, rest_;
  std::vector<std::size_t> ends_;  // of each position in the two below
  Tokens top_;
  std::vector<float> top_log_probabilities_;
};

}  // namespace foretell::replay
