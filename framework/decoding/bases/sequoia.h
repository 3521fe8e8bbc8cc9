// The tree of the highest expected acceptance of a size and depth (Chen et al. 2024, "Sequoia", arXiv 2402.12374), by
// dynamic programming.
//
// Assumption: whether the child of rank b is accepted (those before it were not) has probability p[b], whatever the
// node. A tree then emits 1 + sum over its nodes of the product of p[rank] along the node's path. With F(m, l) the best
// of m nodes below a node and l levels, and G(m, l, b) the same where only children from rank b on are left:
//   F(m, l) = 1 + G(m, l, 0),   G(m, l, b) = max over s of p[b] F(s - 1, l - 1) + G(m - s, l, b + 1), s nodes in that
//   child's subtree
//
// Contract: at most kMostNodes nodes, kMostDepth levels and kMostRanks ranks. O(nodes^2 depth ranks) time.
#pragma once

#include <vector>

#include "framework/decoding/bases/rank_tree.h"
#include "framework/decoding/bases/round_costs.h"

namespace foretell::bases {

class SequoiaTable {
 public:
  static constexpr int kMostNodes = 512, kMostDepth = 32, kMostRanks = 64;

  SequoiaTable(std::vector<double> acceptance_by_rank, int max_nodes, int max_depth);

  int max_nodes() const { return max_nodes_; }
  int max_depth() const { return max_depth_; }
  // Tokens that a round emits with the best tree of at most so many nodes, besides the anchor, and levels.
  double expected_emitted(int nodes, int depth) const { return 1 + best(nodes, depth, 0); }
  RankTree tree(int nodes, int depth) const;

 private:
  double best(int nodes, int depth, int rank) const;  // G
  std::size_t index(int nodes, int depth, int rank) const;
  void build(RankTree& tree, int node, int nodes, int depth) const;

  std::vector<double> acceptance_;
  int max_nodes_, max_depth_;
  std::vector<double> best_;
  std::vector<int> first_subtree_;  // nodes that the child of this rank gets; 0 for no such child
};

struct SizedTree {
  RankTree tree = {};
  double expected_emitted = 1;
  double ns = 0;  // of a round
};

// The tree of this size that emits the most a second, over all depths. A level of the draft forwards the nodes of the
// level before.
SizedTree fastest_tree(const SequoiaTable& table, const RoundCosts& costs, int nodes);
// Of all sizes; no node at all if nothing pays.
SizedTree fastest_tree(const SequoiaTable& table, const RoundCosts& costs);

}  // namespace foretell::bases
