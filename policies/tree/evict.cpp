// The most probable nodes of a draft tree, as many as verification pays for (EVICT, 2026, arXiv 2605.00342; made for
// mixtures of experts, where each node that is scored may read experts of its own).
//
// The tree is drafted as EAGLE-2's. Of its m most probable nodes E[A] = 1 + (sum of their path probabilities) tokens
// are expected, and scoring them takes C(m + 1), the measured cost of so many rows; the m of the highest E[A] / C is
// scored, at least one node. Lossless: which nodes are scored depends on the draft alone. Needs chosen tokens, as
// eagle2 does.
//
// Deviation: C is this machine's table for rows of unrelated tokens (`foretell run` measures it), not a profile of
// captured sizes; what is drafted is paid by then and does not enter.
#include <algorithm>

#include "framework/decoding/bases/beam_tree.h"
#include "framework/decoding/bases/round_costs.h"

namespace foretell::policies::tree {
namespace {

class EvictTree final : public bases::BeamTree {
 public:
  using Options = bases::BeamTreeOptions;
  EvictTree(const Options& options, const BuildContext& context)
      : bases::BeamTree(options), costs_(context, std::nullopt) {}

  std::vector<NodeId> select(const DraftTree&, std::span<const double> path_probability, int nodes) override {
    std::vector<double> best(path_probability.begin() + (path_probability.empty() ? 0 : 1), path_probability.end());
    std::sort(best.begin(), best.end(), std::greater<>());
    const auto most = std::min<std::size_t>(best.size(), static_cast<std::size_t>(std::min(nodes, limits().nodes)));
    double expected = 1, highest = 0;
    std::size_t chosen = 0;
    for (std::size_t count = 1; count <= most; ++count) {
      expected += best[count - 1];
      const double gain = expected / costs_.score(static_cast<double>(count) + 1);
      if (gain <= highest) continue;
      highest = gain;
      chosen = count;
    }
    return bases::most_probable_nodes(path_probability, static_cast<int>(chosen));
  }

 private:
  bases::RoundCosts costs_;
};

FORETELL_REGISTER(TreePolicy, EvictTree, "evict",
                  {.summary = "the most probable nodes of the draft, as many as scoring them pays for",
                   .paper = {"EVICT", 2026, "2605.00342"},
                   .taxonomy = {.focus = "draft-centric", .ryu2024 = "hybrid and adaptive"}});

}  // namespace
}  // namespace foretell::policies::tree
