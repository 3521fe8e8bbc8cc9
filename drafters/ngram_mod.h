// A hash pool from n-grams to the token that last followed them.
//
// Contract: a fixed number of entries, allocated at once; a new n-gram overwrites what lies at its place. An entry
// keeps 32 further bits of its n-gram's hash, so that another n-gram at the same place finds nothing (but once in
// 2^32).
#pragma once

#include <optional>
#include <vector>

#include "framework/core/types.h"

namespace foretell::drafters {

class NgramPool {
 public:
  explicit NgramPool(int log2_entries);
  // `next` followed these tokens.
  void put(TokenSpan ngram, Token next);
  std::optional<Token> get(TokenSpan ngram) const;
  std::size_t entries() const { return entries_.size(); }

 private:
  struct Entry {
    std::uint32_t check = 0;  // 0: free
    Token next = 0;
  };
  struct Key {
    std::size_t place;
    std::uint32_t check;
  };
  Key key_of(TokenSpan ngram) const;

  std::vector<Entry> entries_;
};

}  // namespace foretell::drafters
