// EAGLE-2's tree with a depth that follows the draft's confidence (Brown et al. 2024, "Dynamic Depth Decoding", arXiv
// 2409.00142).
//
// At the depths in `check_depths` the path probabilities of the beam are summed; where the logarithm of the sum is
// below `threshold`, the draft ends: what would hang there is unlikely to be reached at all. Everything else is
// EAGLE-2's (framework/decoding/bases/beam_tree.h).
//
// Deviation: depths and threshold are this project's own. The paper checks only some depths because each check costs a
// GPU a wait; on a CPU it costs nothing, so every depth from the third on is checked.
#include <algorithm>
#include <cmath>

#include "framework/core/parameters.h"
#include "framework/decoding/bases/beam_tree.h"

namespace foretell::policies::tree {
namespace {

struct DddOptions : bases::BeamTreeOptions {
  double threshold = -1.0;
  std::vector<int> check_depths = {3, 4, 5, 6, 7, 8, 9, 10, 11};
  DddOptions() { depth = 11; }
  void declare(Parameters& p) {
    bases::BeamTreeOptions::declare(p);
    p.add("threshold", threshold, "log of the beam's probability below which the draft ends", {.min = -100, .max = 0});
    p.add("check_depths", check_depths, "levels before which this is asked", {.min = 2, .max = 64});
  }
};

class DddTree final : public bases::BeamTree {
 public:
  using Options = DddOptions;
  DddTree(const Options& options, const BuildContext&) : bases::BeamTree(options), options_(options) {}

 private:
  bool deepen(const Frontier& frontier) override {
    const auto& depths = options_.check_depths;
    if (std::find(depths.begin(), depths.end(), frontier.depth) == depths.end()) return true;
    double sum = 0;
    for (const FrontierNode& node : frontier.nodes) sum += node.path_probability;
    return std::log(sum) >= options_.threshold;
  }

  Options options_;
};

FORETELL_REGISTER(TreePolicy, DddTree, "ddd",
                  {.summary = "EAGLE-2's tree, ended where the beam has become improbable",
                   .paper = {"Brown et al.", 2024, "2409.00142"},
                   .also_known_as = {"Dynamic Depth Decoding"}});

}  // namespace
}  // namespace foretell::policies::tree
