// Token Recycling (Luo et al. 2024, arXiv 2408.08696): the target's k best next tokens of every row that was ever
// scored make a tree.
//
// The matrix holds, for each token, the k tokens that the target found most probable the last time it was scored behind
// that token, accepted or not; it lasts over all requests of a run. The tree is a fixed set of rank paths: a node at
// path [0, 2] is the third-best successor of the anchor's best successor. It is filled from the matrix level by level;
// all proposals are chosen tokens.
//
// The tree is not the published one. If the successor of rank r is right with probability a_r whatever came before, a
// path is accepted with the product of its a_r, and the tree of n nodes with the highest expected acceptance has the n
// best products: taken greedily, since no path beats its parent. The default a_r were measured, see kRankAcceptance.
// `tree` names a file with rank paths of one's own. Deviations from the released code: a token that was never scored
// has no successors (there the matrix starts with zeros, which propose token 0); any verifier may decide (there only
// greedily). Memory: V (k + 1) tokens and numbers of 4 bytes, 1.2 MB for 32,000 tokens, whatever the run does.
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <queue>

#include "framework/api/build_context.h"
#include "framework/api/drafter.h"
#include "framework/core/error.h"
#include "framework/core/text.h"

namespace foretell::drafters {
namespace {

constexpr int kMostTreeNodes = 4096;

// How often the target's next token had each rank in the matrix's row of the token before it: a real ternary model of 3
// million parameters on 16 beginnings of children's stories (configs/studies/real_pair.yaml with this drafter,
// temperature 0, 2,065 tokens), rounded. The bundled target on its own tasks gave 0.42, 0.06, 0.03, 0.02 and then 0.01.
const std::vector<double> kRankAcceptance{0.42, 0.10, 0.055, 0.03, 0.027, 0.024, 0.02, 0.016};

struct RecyclingOptions {
  int top_k = 8;
  int nodes = 80;
  std::vector<double> rank_acceptance = kRankAcceptance;
  std::optional<std::string> tree;
  void declare(Parameters& p) {
    p.add("top_k", top_k, "successors kept of each token", {.min = 1, .max = 256, .aliases = {"matrix_top_k"}});
    p.add("num_nodes", nodes, "nodes of the tree, where no file gives it", {.min = 1, .max = kMostTreeNodes});
    p.add("rank_acceptance", rank_acceptance, "probability that the successor of each rank is right; makes the tree",
          {.min = 0, .max = 1});
    p.add("tree", tree, "YAML file with a list of rank paths: [[0], [1], [0, 0]]; none: made from rank_acceptance");
    const double sum = std::accumulate(rank_acceptance.begin(), rank_acceptance.end(), 0.0);
    if (rank_acceptance.empty() || rank_acceptance.front() <= 0 || sum > 1 + 1e-9)
      throw Error(
          p.where(),
          fmt::format(
              "rank_acceptance: expected probabilities that sum to at most 1, the first above 0; they sum to {}", sum));
  }
};

using RankPath = std::vector<int>;

// One node of the fixed tree; parents come before children.
struct TreeNode {
  int parent = 0;  // 0: the anchor, i: the i-th node, from 1
  int rank = 0;
  int depth = 1;
};

// The `nodes` paths with the highest products of rank probabilities: of equal ones the shorter, then the one with the
// lower ranks.
std::vector<TreeNode> best_tree(const std::vector<double>& rank_acceptance, int ranks, int nodes) {
  struct Path {
    double value;
    RankPath ranks;
    int parent;
  };
  const auto later = [](const Path& a, const Path& b) {
    if (a.value != b.value) return a.value < b.value;
    if (a.ranks.size() != b.ranks.size()) return a.ranks.size() > b.ranks.size();
    return a.ranks > b.ranks;
  };
  std::priority_queue<Path, std::vector<Path>, decltype(later)> heap(later);
  const auto add_children = [&](const RankPath& path, double value, int parent) {
    for (int rank = 0; rank < std::min(ranks, static_cast<int>(rank_acceptance.size())); ++rank) {
      Path child{value * rank_acceptance[static_cast<std::size_t>(rank)], path, parent};
      child.ranks.push_back(rank);
      if (child.value > 0) heap.push(std::move(child));
    }
  };
  std::vector<TreeNode> tree;
  add_children({}, 1.0, 0);
  while (!heap.empty() && static_cast<int>(tree.size()) < nodes) {
    const Path best = heap.top();
    heap.pop();
    tree.push_back({best.parent, best.ranks.back(), static_cast<int>(best.ranks.size())});
    add_children(best.ranks, best.value, static_cast<int>(tree.size()));
  }
  return tree;
}

RankPath read_rank_path(const ConfigValue& value, int ranks) {
  if (!value.is_list() || value.items().empty()) fail_at(value.where(), "expected a path of ranks such as [0, 2]");
  RankPath path;
  for (const ConfigValue& item : value.items()) {
    const std::int64_t rank = read_int(item, "rank");
    if (rank < 0 || rank >= ranks) fail_at(item.where(), "rank {} is not one of the top_k: 0 to {}", rank, ranks - 1);
    path.push_back(static_cast<int>(rank));
  }
  return path;
}

// The file's paths by length, the order of the file within one; each path needs its parent in the file.
std::vector<TreeNode> read_tree(const std::string& file, int ranks) {
  const ConfigValue document = load_yaml(file);
  if (!document.is_list() || document.items().empty())
    fail_at(document.where(), "expected a list of rank paths: [[0], [1], [0, 0]]");
  if (document.items().size() > kMostTreeNodes)
    fail_at(document.where(), "{}; at most {} are allowed", counted(document.items().size(), "path"), kMostTreeNodes);
  struct Line {
    RankPath path;
    Location where;
  };
  std::vector<Line> lines;
  for (const ConfigValue& item : document.items()) lines.push_back({read_rank_path(item, ranks), item.where()});
  std::stable_sort(lines.begin(), lines.end(),
                   [](const Line& a, const Line& b) { return a.path.size() < b.path.size(); });
  std::vector<TreeNode> tree;
  std::map<RankPath, int> places{{{}, 0}};
  for (const Line& line : lines) {
    const auto parent = places.find(RankPath(line.path.begin(), line.path.end() - 1));
    if (parent == places.end())
      fail_at(line.where, "[{}]: its parent, the path without its last rank, is missing", fmt::join(line.path, ", "));
    tree.push_back({parent->second, line.path.back(), static_cast<int>(line.path.size())});
    if (!places.emplace(line.path, static_cast<int>(tree.size())).second)
      fail_at(line.where, "[{}] is there twice", fmt::join(line.path, ", "));
  }
  return tree;
}

class RecyclingDrafter final : public Drafter {
 public:
  using Options = RecyclingOptions;
  RecyclingDrafter(const Options& options, const BuildContext& context)
      : top_k_(options.top_k),
        tree_(options.tree ? read_tree(*options.tree, options.top_k)
                           : best_tree(options.rank_acceptance, options.top_k, options.nodes)),
        successors_(static_cast<std::size_t>(context.vocab) * static_cast<std::size_t>(options.top_k)),
        known_(static_cast<std::size_t>(context.vocab), 0) {}

  DraftBudget limits() const override {
    DraftBudget limits{static_cast<int>(tree_.size()), 0, 0};
    std::vector<int> widths(tree_.size() + 1, 0);
    for (const TreeNode& node : tree_) {
      limits.depth = std::max(limits.depth, node.depth);
      limits.width = std::max(limits.width, ++widths[static_cast<std::size_t>(node.depth)]);
    }
    return limits;
  }
  DraftForm form() const override { return {.tree = limits().width > 1, .point_mass = true}; }

  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override {
    std::vector<DraftTree> drafts;
    for (const DraftContext& context : batch) drafts.push_back(fill(context));
    return drafts;
  }

  void observe(std::span<const RoundView> rounds) override {
    for (const RoundView& round : rounds)
      for (NodeId node = 0; node < round.draft.size(); ++node)
        learn(round.draft.node(node).token, round.scores.logits(node));
  }

 private:
  void learn(Token token, std::span<const float> logits) {
    const std::vector<Token> best = highest(logits, top_k_);
    const auto row = static_cast<std::size_t>(token);
    std::copy(best.begin(), best.end(),
              successors_.begin() + static_cast<std::ptrdiff_t>(row * static_cast<std::size_t>(top_k_)));
    known_[row] = static_cast<int>(best.size());
  }

  // Nodes below a token without the successor that they stand for are left out.
  DraftTree fill(const DraftContext& context) const {
    DraftTree draft(context.committed.back());
    std::vector<std::optional<NodeId>> places(tree_.size() + 1);
    places[0] = kAnchor;
    for (std::size_t i = 0; i < tree_.size() && draft.size() <= context.budget.nodes; ++i) {
      const TreeNode& node = tree_[i];
      const auto parent = places[static_cast<std::size_t>(node.parent)];
      if (!parent || node.depth > context.budget.depth) continue;
      const auto row = static_cast<std::size_t>(draft.node(*parent).token);
      if (node.rank >= known_[row]) continue;
      const Token token = successors_[row * static_cast<std::size_t>(top_k_) + static_cast<std::size_t>(node.rank)];
      places[i + 1] = draft.choose(*parent, token, context.vocab);
    }
    return draft;
  }

  int top_k_;
  std::vector<TreeNode> tree_;
  Tokens successors_;       // [vocab, top_k]
  std::vector<int> known_;  // [vocab] how many of them
};

FORETELL_REGISTER(
    Drafter, RecyclingDrafter, "token_recycling",
    {.summary = "a static tree filled with the target's own best tokens of earlier rows (Token Recycling)",
     .stateful = true,
     .needs_logits = true,
     .paper = {"Luo et al.", 2024, "2408.08696"}});

}  // namespace
}  // namespace foretell::drafters
