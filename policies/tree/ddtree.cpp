// The tree of a parallel draft (DDTree, 2026): the `num_nodes` most probable prefixes of the distribution that is the
// product of the draft's marginals.
//
// The paper keeps a heap of (rank, depth) pairs: a prefix that is taken offers its sibling of the next rank and its
// first child. Here the same prefixes are found level by level: a child is drafted only if it would still be among the
// best of all that are known, and the best are scored. Where a level has one distribution whatever the path (medusa,
// pard, dflash), these are exactly the most probable prefixes to `max_depth`; elsewhere the rule is the same with each
// path's own distribution. Needs chosen tokens: draft_sample_method: top_k at temperatures above 0. Drawn tokens fill
// the budget level by level; drafters that have no distributions get a chain.
#include <algorithm>

#include "framework/core/parameters.h"
#include "framework/decoding/bases/beam_tree.h"

namespace foretell::policies::tree {
namespace {

struct DdTreeOptions {
  int num_nodes = 32;
  int max_depth = 16;
  void declare(Parameters& p) {
    p.add("num_nodes", num_nodes, "nodes that are scored, besides the anchor",
          {.min = 1, .max = 1024, .aliases = {"num_draft_tokens", "budget"}});
    p.add("max_depth", max_depth, "levels at most", {.min = 1, .max = 64, .aliases = {"num_steps", "depth"}});
  }
};

class DdTree final : public TreePolicy {
 public:
  using Options = DdTreeOptions;
  DdTree(const Options& options, const BuildContext&) : options_(options) {}

  DraftBudget limits() const override { return {options_.num_nodes, options_.max_depth, options_.num_nodes}; }
  bool wants_probs() const override { return true; }
  int grown_nodes() const override { return options_.num_nodes * options_.max_depth; }

  std::vector<int> expand(const Frontier& frontier) override {
    return bases::widths_of_best(frontier, options_.num_nodes, least(frontier.path_probability));
  }

  std::vector<NodeId> select(const DraftTree&, std::span<const double> path_probability, int nodes) override {
    return bases::most_probable_nodes(path_probability, std::min(nodes, options_.num_nodes));
  }

 private:
  // What a node must be more probable than to be among the best, with so many known.
  double least(std::span<const double> path_probability) const {
    const std::vector<NodeId> best = bases::most_probable_nodes(path_probability, options_.num_nodes);
    if (static_cast<int>(best.size()) < options_.num_nodes) return -1;
    double least = 1;
    for (const NodeId node : best) least = std::min(least, path_probability[static_cast<std::size_t>(node)]);
    return least;
  }

  Options options_;
};

FORETELL_REGISTER(TreePolicy, DdTree, "ddtree",
                  {.summary = "the most probable prefixes of a parallel draft's marginals",
                   .also_known_as = {"DDTree"},
                   .taxonomy = {.focus = "draft-centric", .ryu2024 = "hybrid and adaptive"}});

}  // namespace
}  // namespace foretell::policies::tree
