// The tree of the highest expected acceptance, from the acceptance by rank (Chen et al. 2024, "Sequoia", arXiv
// 2402.12374).
//
// framework/decoding/bases/sequoia.h has the recursion. acceptance_by_rank[b] is the probability that the b-th sibling
// is the accepted one; it depends on draft, target, temperature and verifier, and `foretell tree optimize` measures it.
// Without num_nodes the size is the fastest by the measured cost of n rows, which may be a chain. The shape is made
// once; `static` reads the same shape from a file.
#include "framework/decoding/bases/sequoia.h"
#include "framework/core/error.h"
#include "framework/core/text.h"

namespace foretell::policies::tree {
namespace {

struct SequoiaOptions {
  std::vector<double> acceptance = {0.6, 0.15, 0.07, 0.04, 0.02, 0.01};
  std::optional<int> num_nodes;
  int max_nodes = 64;
  int max_depth = 10;
  std::optional<double> draft_cost;
  void declare(Parameters& p) {
    p.add("acceptance_by_rank", acceptance, "probability that the first, second, ... sibling is accepted",
          {.min = 0, .max = 1});
    p.add("num_nodes", num_nodes, "nodes of the tree; none: as many as pay, up to max_nodes",
          {.min = 1, .max = bases::SequoiaTable::kMostNodes, .aliases = {"num_draft_tokens"}});
    p.add("max_nodes", max_nodes, "nodes at most", {.min = 1, .max = bases::SequoiaTable::kMostNodes});
    p.add("max_depth", max_depth, "levels at most",
          {.min = 1, .max = bases::SequoiaTable::kMostDepth, .aliases = {"num_steps"}});
    bases::declare_draft_cost(p, draft_cost);
    double sum = 0;
    for (const double probability : acceptance) sum += probability;
    if (acceptance.empty() || acceptance.size() > bases::SequoiaTable::kMostRanks)
      throw Error(p.where(),
                  fmt::format("acceptance_by_rank: {}, expected 1 to {}",
                              counted(acceptance.size(), "entry", "entries"), bases::SequoiaTable::kMostRanks));
    if (sum > 1 + 1e-9)
      throw Error(p.where(), fmt::format("acceptance_by_rank: the sum is {}, only one sibling can be accepted", sum));
  }
};

bases::RankTree best_shape(const SequoiaOptions& options, const BuildContext& context) {
  if (options.num_nodes)
    return bases::SequoiaTable(options.acceptance, *options.num_nodes, options.max_depth)
        .tree(*options.num_nodes, options.max_depth);
  bases::RankTree tree =
      bases::fastest_tree(bases::SequoiaTable(options.acceptance, options.max_nodes, options.max_depth),
                          bases::RoundCosts(context, options.draft_cost))
          .tree;
  if (tree.nodes() == 0)
    tree.add(0);  // nothing pays: the least that a drafter can do; a length policy may leave that out too
  return tree;
}

class SequoiaTree final : public bases::ShapedTree {
 public:
  using Options = SequoiaOptions;
  SequoiaTree(const Options& options, const BuildContext& context) : bases::ShapedTree(best_shape(options, context)) {}
};

FORETELL_REGISTER(
    TreePolicy, SequoiaTree, "sequoia",
    {.summary = "the tree of the highest expected acceptance, from the acceptance by rank (dynamic programming)",
     .uses_wall_clock = true,
     .paper = {"Chen et al.", 2024, "2402.12374"}});

}  // namespace
}  // namespace foretell::policies::tree
