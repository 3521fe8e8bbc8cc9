#include "framework/decoding/bases/sequoia.h"

#include <algorithm>

#include "framework/core/error.h"

namespace foretell::bases {

SequoiaTable::SequoiaTable(std::vector<double> acceptance_by_rank, int max_nodes, int max_depth)
    : acceptance_(std::move(acceptance_by_rank)), max_nodes_(max_nodes), max_depth_(max_depth) {
  const auto ranks = static_cast<int>(acceptance_.size());
  FORETELL_CHECK(
      max_nodes >= 0 && max_nodes <= kMostNodes && max_depth >= 0 && max_depth <= kMostDepth && ranks <= kMostRanks,
      "{} nodes, {} levels, {} ranks", max_nodes, max_depth, ranks);
  best_.assign(index(0, max_depth_ + 1, 0), 0.0);
  first_subtree_.assign(best_.size(), 0);
  for (int depth = 1; depth <= max_depth_; ++depth)
    for (int rank = ranks - 1; rank >= 0; --rank)
      for (int nodes = 1; nodes <= max_nodes_; ++nodes)
        for (int subtree = 1; subtree <= nodes; ++subtree) {
          const double sum = acceptance_[static_cast<std::size_t>(rank)] * (1 + best(subtree - 1, depth - 1, 0)) +
                             best(nodes - subtree, depth, rank + 1);
          double& found = best_[index(nodes, depth, rank)];
          if (sum <= found) continue;
          found = sum;
          first_subtree_[index(nodes, depth, rank)] = subtree;
        }
}

std::size_t SequoiaTable::index(int nodes, int depth, int rank) const {
  const auto ranks = acceptance_.size() + 1;
  return (static_cast<std::size_t>(depth) * ranks + static_cast<std::size_t>(rank)) *
             (static_cast<std::size_t>(max_nodes_) + 1) +
         static_cast<std::size_t>(nodes);
}

double SequoiaTable::best(int nodes, int depth, int rank) const { return best_[index(nodes, depth, rank)]; }

void SequoiaTable::build(RankTree& tree, int node, int nodes, int depth) const {
  for (int rank = 0; rank < static_cast<int>(acceptance_.size()); ++rank) {
    const int subtree = first_subtree_[index(nodes, depth, rank)];
    if (subtree == 0) return;
    build(tree, tree.add(node), subtree - 1, depth - 1);
    nodes -= subtree;
  }
}

RankTree SequoiaTable::tree(int nodes, int depth) const {
  RankTree tree;
  build(tree, 0, nodes, depth);
  return tree;
}

SizedTree fastest_tree(const SequoiaTable& table, const RoundCosts& costs, int nodes) {
  SizedTree fastest{{}, 1, costs.plain(1)};
  bool found = nodes == 0;
  for (int depth = 1; depth <= std::min(nodes, table.max_depth()); ++depth) {
    SizedTree sized{table.tree(nodes, depth), table.expected_emitted(nodes, depth), costs.score(nodes + 1)};
    int rows = 1;
    for (const int width : sized.tree.level_widths()) {
      sized.ns += costs.level(rows);
      rows = width;
    }
    if (found && sized.ns * fastest.expected_emitted >= fastest.ns * sized.expected_emitted) continue;
    fastest = std::move(sized);
    found = true;
  }
  return fastest;
}

SizedTree fastest_tree(const SequoiaTable& table, const RoundCosts& costs) {
  SizedTree fastest = fastest_tree(table, costs, 0);
  for (int nodes = 1; nodes <= table.max_nodes(); ++nodes) {
    SizedTree sized = fastest_tree(table, costs, nodes);
    if (sized.ns * fastest.expected_emitted < fastest.ns * sized.expected_emitted) fastest = std::move(sized);
  }
  return fastest;
}

}  // namespace foretell::bases
