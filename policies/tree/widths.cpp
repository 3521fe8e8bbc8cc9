// A regular tree: every node of a depth gets the same number of children.
#include <algorithm>
#include <cstdint>

#include "framework/api/policy.h"
#include "framework/core/text.h"

namespace foretell::policies::tree {
namespace {

struct WidthsOptions {
  std::vector<int> widths{4, 2, 1, 1};
  void declare(Parameters& p) {
    p.add("widths", widths, "children of each node, by depth: [4, 2] has 4 + 8 nodes", {.min = 1, .max = 1024});
    if (widths.empty()) throw Error(p.where(), "widths: expected at least one entry");
    std::int64_t nodes = 0, level = 1, depth = 0;
    for (const int width : widths) {
      nodes += level *= width;
      ++depth;
      if (nodes > 4096)
        throw Error(p.where(), fmt::format("widths: the tree has {} at depth {} already, at most 4096 are allowed",
                                           counted(nodes, "node"), depth));
    }
  }
};

class WidthsTree final : public TreePolicy {
 public:
  using Options = WidthsOptions;
  WidthsTree(const Options& options, const BuildContext&) : options_(options) {}

  DraftBudget limits() const override {
    int nodes = 0, level = 1;
    for (const int width : options_.widths) nodes += level *= width;
    return {nodes, static_cast<int>(options_.widths.size()), level};
  }
  std::vector<int> expand(const Frontier& frontier) override {
    const auto depth = static_cast<std::size_t>(frontier.depth);
    return std::vector<int>(frontier.nodes.size(), depth <= options_.widths.size() ? options_.widths[depth - 1] : 0);
  }

 private:
  Options options_;
};

FORETELL_REGISTER(TreePolicy, WidthsTree, "widths",
                  {.summary = "a regular tree given by its number of children at each depth"});

}  // namespace
}  // namespace foretell::policies::tree
