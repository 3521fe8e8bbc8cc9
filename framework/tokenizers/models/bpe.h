// Byte-pair merging of one word.
//
// Contract: among all neighbouring pairs that may be merged, the one with the lowest rank goes first, the leftmost of
// equals; O(n log n) in the word's symbols. Immutable; the caller brings the scratch space, so one table serves any
// number of threads.
#pragma once

#include <cstdint>
#include <queue>
#include <unordered_map>
#include <vector>

#include "framework/core/types.h"

namespace foretell::tokenizers::models {

struct MergeCandidate {
  double rank;        // lowest first
  int position;       // of the left symbol
  Token left, right;  // what stood there when the candidate was made
  Token merged;
};

// The symbols of one word as a list that shrinks while pairs are merged.
class MergeList {
 public:
  void clear();
  void push(Token symbol);
  Tokens& symbols() { return tokens_; }

  // `find(left, right)` returns an object like std::optional<MergeCandidate> with rank and merged set, or nothing.
  template <class Find>
  void merge_all(Find&& find);
  void append_to(Tokens& out) const;

 private:
  static constexpr Token kGone = -1;
  struct Later {
    bool operator()(const MergeCandidate& a, const MergeCandidate& b) const {
      return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
    }
  };

  template <class Find>
  void propose(int left, Find&& find);
  bool still_there(const MergeCandidate& candidate) const;
  void join(const MergeCandidate& candidate);

  Tokens tokens_;  // kGone where a symbol was merged into its left neighbour
  std::vector<int> next_;
  std::vector<int> previous_;
  std::priority_queue<MergeCandidate, std::vector<MergeCandidate>, Later> queue_;
};

template <class Find>
void MergeList::propose(int left, Find&& find) {
  const auto i = static_cast<std::size_t>(left);
  const int right = next_[i];
  if (right >= static_cast<int>(tokens_.size())) return;
  const Token a = tokens_[i], b = tokens_[static_cast<std::size_t>(right)];
  if (const auto merge = find(a, b)) queue_.push({merge->rank, left, a, b, merge->merged});
}

template <class Find>
void MergeList::merge_all(Find&& find) {
  for (int i = 0; i + 1 < static_cast<int>(tokens_.size()); ++i) propose(i, find);
  while (!queue_.empty()) {
    const MergeCandidate best = queue_.top();
    queue_.pop();
    if (!still_there(best)) continue;
    join(best);
    if (previous_[static_cast<std::size_t>(best.position)] >= 0)
      propose(previous_[static_cast<std::size_t>(best.position)], find);
    propose(best.position, find);
  }
}

}  // namespace foretell::tokenizers::models
