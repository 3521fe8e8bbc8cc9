// A tree given by ranks: which children, counted by how likely the draft holds them, a node has.
//
// Contract: node 0 is the anchor, parents come before children, and the children of a node have the ranks 0, 1, 2 ...
// in order. At most kMostNodes nodes. ShapedTree is a tree policy of that shape. Of siblings drawn with replacement the
// later ones may be equal to earlier ones: then what hangs on them is missing.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "framework/api/policy.h"
#include "framework/core/config_value.h"

namespace foretell::bases {

class RankTree {
 public:
  static constexpr int kMostNodes = 4096;

  RankTree() : children_(1), depth_(1, 0) {}
  // Reads a list of rank paths ([[0], [1], [0, 0]], as Medusa and EAGLE write them), {paths: such a list} or {parents:
  // [0, 0, 1]} (of node 1, 2,
  // ...). Paths may come in any order; those they begin with must be there. Every mistake is an Error at its line.
  static RankTree read(const ConfigValue& value);

  int add(int parent);                                                  // the next child of `parent`
  int nodes() const { return static_cast<int>(children_.size()) - 1; }  // besides the anchor
  int depth() const;
  std::vector<int> level_widths() const;  // nodes at depth 1, 2, ...
  int max_width() const;
  const std::vector<int>& children(int node) const { return children_[static_cast<std::size_t>(node)]; }
  std::vector<std::vector<int>> paths() const;  // of all nodes but the anchor, parents first
  // A file that read() takes, with `comment` at its head.
  std::string to_yaml(const std::string& comment) const;

 private:
  std::vector<std::vector<int>> children_;
  std::vector<int> depth_;
};

class ShapedTree : public TreePolicy {
 public:
  explicit ShapedTree(RankTree shape) : shape_(std::move(shape)) {}
  DraftBudget limits() const final { return {shape_.nodes(), shape_.depth(), shape_.max_width()}; }
  std::vector<int> expand(const Frontier& frontier) final;

 private:
  RankTree shape_;
};

}  // namespace foretell::bases
