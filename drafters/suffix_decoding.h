// A counted, path-compressed tree of all substrings of limited length, of one growing sequence or of many finished
// ones.
//
// Contract: the count of a node says how often the string that leads to it occurs (occurrences in one sequence may
// overlap). Along a label counts are equal, so every occurrence ends at the end of a node. append() costs one step for
// each suffix that has been seen before, at most `depth`; children are kept in order of their counts. Sequences go in
// the order in which they came, with everything that only they had. A label is a piece of the text of its newest
// occurrence: when the oldest sequence goes, no label of what stays points into it.
#pragma once

#include <deque>
#include <span>
#include <vector>

#include "framework/core/flat_map.h"
#include "framework/core/types.h"

namespace foretell::drafters {

class SuffixTree {
 public:
  using Node = std::int32_t;
  static constexpr Node kRoot = 0;
  // The place behind the first `offset` tokens of a node's label.
  struct Place {
    Node node = kRoot;
    int offset = 0;
  };

  explicit SuffixTree(int depth);

  void append(Token token);  // to the open sequence
  void end_sequence();
  void drop_oldest();  // of the ended sequences

  int depth() const { return depth_; }
  std::size_t tokens() const { return text_.size() - dropped_; }
  std::size_t sequences() const { return ends_.size(); }  // that have ended
  std::size_t nodes() const { return nodes_.size() - free_.size() - 1; }

  // The suffixes of the open sequence, longest first; none is longer than depth().
  const std::deque<Node>& suffixes() const { return suffixes_; }
  // One token further; false where nobody went on like that.
  bool follow(Place& place, Token token) const;

  int count(Node node) const { return nodes_[node].count; }
  int length(Node node) const { return nodes_[node].length; }
  Token token(Node node, int offset) const {
    return text_[static_cast<std::size_t>(nodes_[node].start - base_) + offset];
  }
  std::span<const Node> children(Node node) const { return nodes_[node].children; }  // most frequent first

 private:
  struct NodeData {
    std::int64_t start = 0;  // of the label, counted from the first token ever
    int length = 0;
    int count = 0;
    Node parent = kRoot;
    int place = 0;  // among the parent's children
    std::vector<Node> children = {};
  };
  static std::uint64_t key(Node node, Token token) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(node)) << 32 | static_cast<std::uint32_t>(token);
  }

  Node make(const NodeData& data);
  void release(Node node);
  void adopt(Node parent, Node child);
  void replace(Node old, Node by);  // in the place of `old`
  // Moves a node among its siblings to where its count belongs once it has been raised or lowered by one.
  void raise(Node node);
  void lower(Node node);
  void swap_siblings(Node parent, int a, int b);

  Node advance(Node at, Token token, std::int64_t position);
  Node split_first(Node node);
  // The only child of a node takes the node's label in front of its own and the node's place.
  Node absorb_parent(Node child);
  void remove(Node leaf);

  int depth_;
  Tokens text_;
  std::int64_t base_ = 0;    // position of text_[0], counted from the first token ever
  std::size_t dropped_ = 0;  // tokens at the front of text_ that no sequence has any more
  std::deque<std::int64_t> ends_;
  std::vector<NodeData> nodes_;
  std::vector<Node> free_;
  FlatMap<Node> child_of_;
  std::deque<Node> suffixes_;
};

}  // namespace foretell::drafters
