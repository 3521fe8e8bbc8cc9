// Tree policies against brute force: every tree, every node.
#include <algorithm>
#include <cmath>
#include <functional>
#include <queue>
#include <random>
#include <set>

#include "framework/core/error.h"
#include "framework/decoding/bases/beam_tree.h"
#include "framework/decoding/bases/rank_tree.h"
#include "framework/decoding/bases/sequoia.h"
#include "tests/policies/driver.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell::testing {
namespace {

double expected_of(const RankTree& tree, const std::vector<double>& acceptance) {
  double sum = 1;
  for (const auto& path : tree.paths()) {
    double product = 1;
    for (const int rank : path)
      product *= rank < static_cast<int>(acceptance.size()) ? acceptance[static_cast<std::size_t>(rank)] : 0.0;
    sum += product;
  }
  return sum;
}

// Calls f with every tree of up to `nodes` more nodes: parents are added in non-decreasing order, so each tree comes
// once.
void for_each_tree(const RankTree& tree, int first_parent, int nodes, const std::function<void(const RankTree&)>& f) {
  f(tree);
  if (nodes == 0) return;
  for (int parent = first_parent; parent <= tree.nodes(); ++parent) {
    RankTree larger = tree;
    larger.add(parent);
    for_each_tree(larger, parent, nodes - 1, f);
  }
}

TEST_CASE("Sequoia's recursion finds the best of all trees", "[policies]") {
  std::mt19937 random(4);
  for (int trial = 0; trial < 12; ++trial) {
    std::vector<double> acceptance;
    double left = 1;
    for (int rank = 0; rank < 3; ++rank) {
      acceptance.push_back(left * (random() % 1000) / 1000);
      left -= acceptance.back();
    }
    const SequoiaTable table(acceptance, 7, 4);
    for (const int nodes : {1, 3, 5, 7})
      for (int depth = 1; depth <= 4; ++depth) {
        double best = 0;
        for_each_tree(RankTree(), 0, nodes, [&](const RankTree& tree) {
          if (tree.depth() <= depth) best = std::max(best, expected_of(tree, acceptance));
        });
        const RankTree tree = table.tree(nodes, depth);
        CHECK(table.expected_emitted(nodes, depth) == Approx(best).epsilon(1e-12));
        CHECK(expected_of(tree, acceptance) == Approx(best).epsilon(1e-12));
        CHECK(tree.nodes() <= nodes);
        CHECK(tree.depth() <= depth);
      }
  }
}

TEST_CASE("the size of a Sequoia tree is what the machine makes of it", "[policies]") {
  const std::vector<double> acceptance = {0.7, 0.15, 0.05};
  const auto size = [&](std::vector<RowCost> target, std::vector<RowCost> draft) {
    const auto costs = std::make_shared<RowCosts>(std::move(target), std::move(draft));
    return make_tree("{type: sequoia, acceptance_by_rank: [0.7, 0.15, 0.05], max_nodes: 32, max_depth: 8}", costs)
        ->limits();
  };
  const DraftBudget free = size({{1, 10}, {64, 10}}, {{1, 0.5}}), dear = size({{1, 10}, {64, 200}}, {{1, 0.5}});
  const DraftBudget hopeless = size({{1, 10}, {64, 640}}, {{1, 9}});
  CHECK(free.nodes == 32);
  CHECK(dear.nodes < 12);
  CHECK(dear.nodes > 1);
  CHECK(hopeless.nodes == 1);
  // Its time over its tokens is the least of all sizes and depths.
  const auto row_costs =
      std::make_shared<RowCosts>(std::vector<RowCost>{{1, 10}, {64, 200}}, std::vector<RowCost>{{1, 0.5}});
  BuildContext context;
  context.row_costs = [&] { return row_costs; };
  const RoundCosts costs(context, std::nullopt);
  const SequoiaTable table(acceptance, 32, 8);
  const SizedTree fastest = fastest_tree(table, costs);
  CHECK(fastest.tree.nodes() == dear.nodes);
  double least = 10;
  for (int nodes = 1; nodes <= 32; ++nodes)
    for (int depth = 1; depth <= 8; ++depth) {
      const RankTree tree = table.tree(nodes, depth);
      const double ns = 0.5 * tree.depth() + row_costs->target(tree.nodes() + 1);
      least = std::min(least, ns / expected_of(tree, acceptance));
    }
  CHECK(fastest.ns / fastest.expected_emitted == Approx(least).epsilon(1e-9));
}

std::string tree_error(const std::string& yaml) {
  try {
    make_tree(yaml);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("static trees from files, and the mistakes in them", "[policies]") {
  const TemporaryFolder folder;
  const auto with = [&](const std::string& text) {
    return "{type: static, file: " + folder.write("tree.yaml", text).string() + "}";
  };
  const auto limits = [&](const std::string& text) { return make_tree(with(text))->limits(); };
  const DraftBudget paths = limits("- [1]\n- [0]\n- [0, 0]\n- [0, 1]\n- [0, 0, 0]\n");
  CHECK(paths.nodes == 5);
  CHECK(paths.depth == 3);
  CHECK(paths.width == 2);
  CHECK(limits("[[0], [0, 0]]").depth == 2);  // JSON
  CHECK(limits("parents: [0, 0, 1, 1, 3]").nodes == 5);
  CHECK(make_tree("{type: static, paths: [[0], [1]]}")->limits().depth == 1);

  const std::string file = (folder.path() / "tree.yaml").string();
  CHECK(tree_error(with("- [0]\n- [0, 1]\n")) == file + ":2: the path [0, 1] is there without its sibling of rank 0");
  CHECK(tree_error(with("- [0]\n- [1, 0]\n")) == file + ":2: the path [1, 0] begins with one that is not there");
  CHECK(tree_error(with("- [0]\n- [0]\n")) == file + ":2: the path [0] is there twice");
  CHECK(tree_error(with("- [0]\n- [-1]\n")) == file + ":2: rank -1 is out of range, expected 0 to 1023");
  CHECK(tree_error(with("- [0]\n- 3\n")) == file + ":2: a path is a list of ranks, such as [0, 1]");
  CHECK(tree_error(with("parents:\n  - 0\n  - 2\n")) ==
        file + ":3: parents: node 2 has the parent 2, expected 0 (the anchor) or an earlier node");
  CHECK(tree_error(with("branches: [1]\n")).find(file + ":1: unknown key 'branches'") == 0);
  CHECK(tree_error(with("")).find("a tree is a list of rank paths") != std::string::npos);
  CHECK(tree_error("{type: static, file: nowhere.yaml}") == "tree.yaml:1: file: nowhere.yaml does not exist");
  CHECK(tree_error("{type: static}") == "tree.yaml:1: tree 'static' needs exactly one of file and paths");
  // What `tree optimize` writes is read back.
  const RankTree tree = SequoiaTable({0.6, 0.2, 0.1}, 20, 5).tree(20, 5);
  auto written = tree.paths(), read = RankTree::read(parse_yaml(tree.to_yaml("a comment"), "written")).paths();
  std::sort(written.begin(), written.end());
  std::sort(read.begin(), read.end());
  CHECK(read == written);
}

// A draft model that knows a distribution for every path; drafts as drafters do. All paths of tokens 0 .. vocab - 1.
class GrownDraft {
 public:
  // `parallel`: one distribution for all paths of a depth.
  GrownDraft(TreePolicy& policy, int vocab, unsigned seed, bool parallel = false)
      : policy_(policy), vocab_(vocab), seed_(seed), parallel_(parallel) {}

  Distribution distribution(NodeId node) const {
    std::seed_seq path{seed_, static_cast<unsigned>(hash(node))};
    std::mt19937 random(path);
    std::vector<double> weights;
    for (int t = 0; t < vocab_; ++t) weights.push_back(std::exp(3.0 * (random() % 1000) / 1000));
    return Distribution::dense(weights);
  }

  void grow() {
    const int most = policy_.grown_nodes();
    std::vector<NodeId> frontier{kAnchor};
    for (int depth = 1; depth <= policy_.limits().depth && !frontier.empty(); ++depth) {
      std::vector<Distribution> distributions;
      for (const NodeId node : frontier) distributions.push_back(distribution(node));
      std::vector<FrontierNode> nodes;
      for (std::size_t i = 0; i < frontier.size(); ++i)
        nodes.push_back({frontier[i], path[static_cast<std::size_t>(frontier[i])], &distributions[i]});
      const std::vector<int> widths = policy_.expand({depth, nodes, most - (tree.size() - 1), tree, path});
      std::vector<NodeId> children;
      for (std::size_t i = 0; i < frontier.size(); ++i)
        for (const Token token : distributions[i].top(std::min(widths[i], most - (tree.size() - 1)))) {
          children.push_back(tree.choose(frontier[i], token, vocab_));
          path.push_back(path[static_cast<std::size_t>(frontier[i])] * distributions[i][token]);
        }
      levels.push_back(static_cast<int>(children.size()));
      if (policy_.beam() && static_cast<int>(children.size()) > *policy_.beam()) {
        std::stable_sort(children.begin(), children.end(), [&](NodeId a, NodeId b) {
          return path[static_cast<std::size_t>(a)] > path[static_cast<std::size_t>(b)];
        });
        children.resize(static_cast<std::size_t>(*policy_.beam()));
        std::sort(children.begin(), children.end());
      }
      frontier = children;
    }
  }

  DraftTree tree{0};
  std::vector<double> path{1.0};  // probability, by node
  std::vector<int> levels;        // nodes drafted at each depth

 private:
  std::uint32_t hash(NodeId node) const {
    if (parallel_) return static_cast<std::uint32_t>(tree.depth(node));
    std::uint32_t h = 17;
    for (const Token token : tree.path(node)) h = h * 31 + static_cast<std::uint32_t>(token) + 1;
    return h;
  }
  TreePolicy& policy_;
  int vocab_;
  unsigned seed_;
  bool parallel_;
};

void check_closed(const DraftTree& tree, const std::vector<NodeId>& kept) {
  const std::set<NodeId> set(kept.begin(), kept.end());
  for (const NodeId node : kept) {
    const NodeId parent = tree.node(node).parent;
    CHECK((parent == kAnchor || set.count(parent) > 0));
  }
}

TEST_CASE("EAGLE-2's tree: K x K children a level, and the best of all nodes", "[policies]") {
  for (unsigned seed = 0; seed < 10; ++seed) {
    const auto policy = make_tree("{type: eagle2, top_k: 3, depth: 4, total_tokens: 13}");
    GrownDraft draft(*policy, 8, seed);
    draft.grow();
    CHECK(draft.levels == std::vector<int>{3, 9, 9, 9});
    CHECK(policy->grown_nodes() == 30);
    for (const int nodes : {12, 5, 50}) {
      const std::vector<NodeId> kept = policy->select(draft.tree, draft.path, nodes);
      std::vector<NodeId> all;
      for (NodeId node = 1; node < draft.tree.size(); ++node) all.push_back(node);
      std::stable_sort(all.begin(), all.end(), [&](NodeId a, NodeId b) {
        return draft.path[static_cast<std::size_t>(a)] > draft.path[static_cast<std::size_t>(b)];
      });
      all.resize(static_cast<std::size_t>(std::min(nodes, 12)));
      std::sort(all.begin(), all.end());
      CHECK(kept == all);
      check_closed(draft.tree, kept);
    }
  }
}

TEST_CASE("equal probabilities never leave a node without its parent", "[policies]") {
  DraftTree tree(0);
  std::vector<double> path{1.0};
  NodeId at = kAnchor;
  for (int i = 0; i < 6; ++i) {
    at = tree.choose(at, 1, 4);
    path.push_back(0.5);
    tree.choose(at, 2, 4);
    path.push_back(0.5);
  }
  for (int count = 1; count <= tree.size(); ++count) check_closed(tree, most_probable_nodes(path, count));
}

TEST_CASE("dynamic depth ends the tree where the beam has become improbable", "[policies]") {
  const auto policy =
      make_tree("{type: ddd, top_k: 2, depth: 9, total_tokens: 20, check_depths: [3, 5], threshold: -1}");
  for (const auto& [each, depth, children] :
       std::vector<std::tuple<double, int, int>>{{0.2, 3, 2}, {0.18, 3, 0}, {0.01, 4, 2}, {0.18, 5, 0}, {0.3, 5, 2}}) {
    const DraftTree tree(0);
    const std::vector<FrontierNode> nodes = {{1, each, nullptr}, {2, each, nullptr}};
    const std::vector<double> path = {1, each, each};
    CHECK(policy->expand({depth, nodes, 100, tree, path}) == std::vector<int>(2, children));
  }
}

TEST_CASE("OPT-Tree drafts the best N nodes, and levels while they pay", "[policies]") {
  constexpr int kNodes = 6;
  for (unsigned seed = 0; seed < 10; ++seed) {
    const auto policy = make_tree("{type: opt_tree, num_nodes: 6, max_depth: 5, threshold: 0.2}");
    GrownDraft draft(*policy, 5, seed);
    draft.grow();
    // Brute force: all 5^depth paths, level by level.
    GrownDraft full(*policy, 5, seed);
    std::vector<double> paths;
    std::vector<NodeId> level{kAnchor};
    double before = 0;
    int depth = 0;
    while (depth < 5) {
      std::vector<NodeId> next;
      for (const NodeId node : level) {
        const Distribution distribution = full.distribution(node);
        for (Token t = 0; t < 5; ++t) {
          next.push_back(full.tree.choose(node, t, 5));
          full.path.push_back(full.path[static_cast<std::size_t>(node)] * distribution[t]);
          paths.push_back(full.path.back());
        }
      }
      level = std::move(next);
      ++depth;
      std::sort(paths.rbegin(), paths.rend());
      double sum = 0;
      for (int i = 0; i < std::min<int>(kNodes, static_cast<int>(paths.size())); ++i)
        sum += paths[static_cast<std::size_t>(i)];
      if (depth > 1 && sum - before <= 0.2) break;
      if (depth == 1 && sum <= 0.2) break;
      before = sum;
    }
    CHECK(draft.tree.depth() == depth);
    const std::vector<NodeId> kept = policy->select(draft.tree, draft.path, kNodes);
    check_closed(draft.tree, kept);
    double chosen = 0, best = 0;
    for (const NodeId node : kept) chosen += draft.path[static_cast<std::size_t>(node)];
    for (int i = 0; i < kNodes; ++i) best += paths[static_cast<std::size_t>(i)];
    CHECK(chosen == Approx(best).epsilon(1e-12));
    CHECK(*std::max_element(draft.levels.begin(), draft.levels.end()) <= kNodes);
  }
}

// The paper's rule: a heap of prefixes by probability, each of which offers its next sibling and its first child.
std::set<Tokens> most_probable_prefixes(const std::vector<Distribution>& marginals, int count) {
  struct Prefix {
    double probability;
    std::vector<int> ranks;
    bool operator<(const Prefix& other) const { return probability < other.probability; }
  };
  const auto prefix = [&](std::vector<int> ranks) {
    double probability = 1;
    for (std::size_t i = 0; i < ranks.size(); ++i) probability *= marginals[i][marginals[i].top(ranks[i] + 1).back()];
    return Prefix{probability, std::move(ranks)};
  };
  std::priority_queue<Prefix> heap;
  heap.push(prefix({0}));
  std::set<Tokens> out;
  while (static_cast<int>(out.size()) < count) {
    const std::vector<int> ranks = heap.top().ranks;
    heap.pop();
    Tokens tokens;
    for (std::size_t i = 0; i < ranks.size(); ++i) tokens.push_back(marginals[i].top(ranks[i] + 1).back());
    out.insert(tokens);
    std::vector<int> sibling = ranks, child = ranks;
    if (++sibling.back() < marginals[0].vocab()) heap.push(prefix(sibling));
    child.push_back(0);
    if (child.size() <= marginals.size()) heap.push(prefix(child));
  }
  return out;
}

TEST_CASE("DDTree scores the most probable prefixes of a parallel draft, and drafts few others", "[policies]") {
  constexpr int kVocab = 5, kDepth = 5;
  for (unsigned seed = 0; seed < 10; ++seed)
    for (const int count : {1, 7, 30}) {
      const auto policy = make_tree(fmt::format("{{type: ddtree, num_nodes: {}, max_depth: {}}}", count, kDepth));
      GrownDraft draft(*policy, kVocab, seed, true);
      draft.grow();
      const std::vector<NodeId> kept = policy->select(draft.tree, draft.path, count);
      check_closed(draft.tree, kept);
      std::set<Tokens> chosen;
      for (const NodeId node : kept) chosen.insert(draft.tree.path(node));

      // Every prefix there is, and what the paper's heap pops.
      std::vector<Distribution> marginals;
      std::vector<std::pair<double, Tokens>> all;
      std::vector<std::pair<double, Tokens>> level{{1.0, {}}};
      GrownDraft marginal(*policy, kVocab, seed, true);
      NodeId at = kAnchor;
      for (int depth = 1; depth <= kDepth; ++depth) {
        marginals.push_back(marginal.distribution(at));
        at = marginal.tree.choose(at, 0, kVocab);
        std::vector<std::pair<double, Tokens>> next;
        for (const auto& [probability, tokens] : level)
          for (Token t = 0; t < kVocab; ++t) {
            next.emplace_back(probability * marginals.back()[t], tokens);
            next.back().second.push_back(t);
          }
        all.insert(all.end(), next.begin(), next.end());
        level = std::move(next);
      }
      std::sort(all.rbegin(), all.rend());
      double best = 0, sum = 0;
      for (int i = 0; i < count; ++i) best += all[static_cast<std::size_t>(i)].first;
      for (const NodeId node : kept) sum += draft.path[static_cast<std::size_t>(node)];
      CHECK(static_cast<int>(kept.size()) == count);
      CHECK(sum == Approx(best).epsilon(1e-12));
      CHECK(draft.tree.size() - 1 <= count * kDepth);
      if (all[static_cast<std::size_t>(count) - 1].first > all[static_cast<std::size_t>(count)].first)
        CHECK(chosen == most_probable_prefixes(marginals, count));
    }
}

}  // namespace
}  // namespace foretell::testing
