// The target's distributions along one recorded answer, cut to their most probable tokens.
//
// Contract: for each token of the answer, the log probabilities (natural, unwarped: before temperature and cuts) of the
// top tokens and of the token itself, and the mass of all others, `rest`. row() makes logits of it again: stored tokens
// keep their log probability, the others share the rest in equal parts. So the recorded token's probability at
// temperature 1 is exact whatever was cut off; an error of at most `rest` in total variation is in the rest of the
// distribution, and in everything once another temperature renormalises it. Positions count from 0, the answer's first
// token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "framework/api/request.h"
#include "framework/core/types.h"

namespace foretell::replay {

struct RecordedDistribution {
  Token token;                               // that was emitted
  float log_probability;                     // its own
  float rest;                                // [1] the mass of what is neither the token nor one of `tokens`
  TokenSpan tokens;                          // most probable first
  std::span<const float> log_probabilities;  // of these
};

class RecordedDistributions final : public RequestData {
 public:
  explicit RecordedDistributions(int vocab) : vocab_(vocab) {}

  // The distribution of a row of raw logits [vocab] at which `token` was emitted. An Error on NaN.
  void add(std::span<const float> logits, Token token, int top_k);
  // As read from a file; tokens are distinct and in the vocabulary.
  void add(const RecordedDistribution& distribution);

  int size() const { return static_cast<int>(tokens_.size()); }
  int vocab() const { return vocab_; }
  RecordedDistribution operator[](int position) const;
  TokenSpan answer() const { return tokens_; }
  // [vocab] logits whose softmax at temperature 1 is the distribution.
  std::vector<float> row(int position) const;
  // The recorded distributions of the first `count` tokens.
  RecordedDistributions first(int count) const;

 private:
  int vocab_;
  Tokens tokens_;
  std::vector<float> log_probabilities_, rest_;
  std::vector<std::size_t> ends_;  // of each position in the two below
  Tokens top_;
  std::vector<float> top_log_probabilities_;
};

}  // namespace foretell::replay
