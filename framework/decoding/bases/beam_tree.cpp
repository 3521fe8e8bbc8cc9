#include "framework/decoding/bases/beam_tree.h"

#include <algorithm>
#include <numeric>

#include "framework/core/parameters.h"

namespace foretell::bases {

std::vector<NodeId> most_probable_nodes(std::span<const double> path_probability, int count) {
  std::vector<NodeId> nodes(path_probability.empty() ? 0 : path_probability.size() - 1);
  std::iota(nodes.begin(), nodes.end(), 1);
  const auto before = [&](NodeId a, NodeId b) {
    const double pa = path_probability[static_cast<std::size_t>(a)], pb = path_probability[static_cast<std::size_t>(b)];
    return pa != pb ? pa > pb : a < b;
  };
  if (static_cast<int>(nodes.size()) > count) {
    std::nth_element(nodes.begin(), nodes.begin() + count, nodes.end(), before);
    nodes.resize(static_cast<std::size_t>(count));
  }
  std::sort(nodes.begin(), nodes.end());
  return nodes;
}

std::vector<int> widths_of_best(const Frontier& frontier, int count, double least) {
  struct Candidate {
    double probability;
    std::size_t place;
  };
  std::vector<Candidate> candidates;
  std::vector<Token> top;
  for (std::size_t i = 0; i < frontier.nodes.size(); ++i) {
    const FrontierNode& node = frontier.nodes[i];
    if (!node.distribution) return std::vector<int>(frontier.nodes.size(), 1);
    // Nodes of a parallel draft share their level's distribution.
    if (i == 0 || node.distribution != frontier.nodes[i - 1].distribution) top = node.distribution->top(count);
    for (const Token token : top) {
      const double probability = node.path_probability * (*node.distribution)[token];
      if (probability <= least) break;  // they are sorted
      candidates.push_back({probability, i});
    }
  }
  const auto drafted = std::min(candidates.size(), static_cast<std::size_t>(count));
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.probability > b.probability; });
  std::vector<int> widths(frontier.nodes.size(), 0);
  for (std::size_t i = 0; i < drafted; ++i) ++widths[candidates[i].place];
  return widths;
}

void BeamTreeOptions::declare(Parameters& p) {
  p.add("top_k", top_k, "nodes of a level that are looked at further, and children of each",
        {.min = 1, .max = 64, .aliases = {"eagle_topk"}});
  p.add("depth", depth, "levels", {.min = 1, .max = 64, .aliases = {"num_steps", "max_depth"}});
  p.add("total_tokens", total_tokens, "rows that are scored, the anchor among them",
        {.min = 2, .max = 4096, .aliases = {"num_draft_tokens", "total_token"}});
}

int BeamTree::grown_nodes() const {
  const int grown = options_.top_k + (options_.depth - 1) * options_.top_k * options_.top_k;
  return std::max(grown, limits().nodes);
}

std::vector<int> BeamTree::expand(const Frontier& frontier) {
  return std::vector<int>(frontier.nodes.size(), deepen(frontier) ? options_.top_k : 0);
}

std::vector<NodeId> BeamTree::select(const DraftTree&, std::span<const double> path_probability, int nodes) {
  return most_probable_nodes(path_probability, std::min(nodes, limits().nodes));
}

}  // namespace foretell::bases
