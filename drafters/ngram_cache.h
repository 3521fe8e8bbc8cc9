// Which tokens followed which n-grams, and how often.
//
// Contract: counts the n-grams of 1 to kLongest tokens. Keys are 64-bit hashes of the tokens: a collision would cost a
// bad draft, nothing more. Memory is bounded by `max_pairs` counted (n-gram, next token) pairs at 50 to 150 bytes each:
// beyond that all counts are halved and what falls to 0 is forgotten, as often as it takes to free half of the room.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "framework/core/flat_map.h"
#include "framework/core/types.h"

namespace foretell::drafters {

class NgramCounts {
 public:
  static constexpr int kLongest = 4;
  struct Follower {
    Token token = 0;  // the most frequent one, the latest among equals
    int count = 0;
    int total = 0;  // of all followers
  };

  explicit NgramCounts(std::size_t max_pairs) : max_pairs_(max_pairs) {}

  // Counts the last token of `text` as what followed the n-grams before it.
  void add(TokenSpan text);
  // What followed the last n tokens of `text`; none if n-grams of that length were never counted there.
  std::optional<Follower> find(TokenSpan text, int n) const;
  std::size_t pairs() const { return pairs_.size(); }

 private:
  struct Pair {
    std::uint64_t ngram = 0;
    Token token = 0;
    int count = 0;
  };
  void count(std::uint64_t ngram, Token token, int times);
  void forget();

  std::size_t max_pairs_;
  FlatMap<Pair> pairs_;
  FlatMap<Follower> followers_;
};

}  // namespace foretell::drafters
