// The N nodes of the highest expected acceptance, drafted as deep as it pays (Wang et al. 2024, "OPT-Tree", arXiv
// 2406.17276).
//
// The acceptance that a tree can expect is about the sum of its nodes' path probabilities. With W(d) the sum of the N
// largest after d levels, drafting goes on while W(d) - W(d - 1) > threshold, which is best set to the time of a draft
// step in units of the target's forward; the N nodes of W are scored.
//
// Deviation: the original gives each of N nodes N children and keeps the N most probable of N x N. Which they are is
// known before they are drafted, since a node's k-th child has the k-th probability of its distribution: only those are
// drafted here. Needs chosen tokens for its last step, as eagle2 does: draft_sample_method: top_k at temperatures above
// 0. Drawn tokens fill the budget level by level. Drafters that have no distributions get a chain.
#include <algorithm>

#include "framework/core/parameters.h"
#include "framework/decoding/bases/beam_tree.h"

namespace foretell::policies::tree {
namespace {

struct OptTreeOptions {
  int num_nodes = 50;
  int max_depth = 10;
  double threshold = 0.5;
  void declare(Parameters& p) {
    p.add("num_nodes", num_nodes, "nodes that are scored, besides the anchor",
          {.min = 1, .max = 1024, .aliases = {"num_draft_tokens"}});
    p.add("max_depth", max_depth, "levels at most", {.min = 1, .max = 64, .aliases = {"num_steps", "depth"}});
    p.add("threshold", threshold, "the least that a level must add to the expected acceptance", {.min = 0, .max = 1});
  }
};

class OptTree final : public TreePolicy {
 public:
  using Options = OptTreeOptions;
  OptTree(const Options& options, const BuildContext&) : options_(options) {}

  DraftBudget limits() const override { return {options_.num_nodes, options_.max_depth, options_.num_nodes}; }
  bool wants_probs() const override { return true; }
  int grown_nodes() const override { return options_.num_nodes * options_.max_depth; }

  std::vector<int> expand(const Frontier& frontier) override {
    if (frontier.depth > 1 && gain(frontier) <= options_.threshold) return std::vector<int>(frontier.nodes.size(), 0);
    return bases::widths_of_best(frontier, options_.num_nodes, -1);
  }

  std::vector<NodeId> select(const DraftTree&, std::span<const double> path_probability, int nodes) override {
    return bases::most_probable_nodes(path_probability, std::min(nodes, options_.num_nodes));
  }

 private:
  // What the last level has added to the sum of the most probable nodes.
  double gain(const Frontier& frontier) const {
    std::vector<double> before;
    for (NodeId node = 0; node < frontier.draft.size() && frontier.draft.depth(node) < frontier.depth - 1; ++node)
      before.push_back(frontier.path_probability[static_cast<std::size_t>(node)]);
    return best_sum(frontier.path_probability) - best_sum(before);
  }

  double best_sum(std::span<const double> path_probability) const {
    double sum = 0;
    for (const NodeId node : bases::most_probable_nodes(path_probability, options_.num_nodes))
      sum += path_probability[static_cast<std::size_t>(node)];
    return sum;
  }

  Options options_;
};

FORETELL_REGISTER(TreePolicy, OptTree, "opt_tree",
                  {.summary = "the most probable nodes of the draft, as deep as another level pays",
                   .paper = {"Wang et al.", 2024, "2406.17276"},
                   .also_known_as = {"OPT-Tree"},
                   .taxonomy = {.focus = "draft-centric", .ryu2024 = "hybrid and adaptive"}});

}  // namespace
}  // namespace foretell::policies::tree
