#include <map>
#include <numeric>

#include "experiments/certify/checks.h"
#include "framework/core/error.h"
#include "tests/drafters/retrieval_drafting.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell::testing {
namespace {

using namespace certify;

// Scores in which the best successors of token t are t * k + 1, t * k + 2, ...: the drafted tokens then tell the rank
// paths.
std::vector<float> telling_row(Token token, int k, int vocab) {
  std::vector<float> row(static_cast<std::size_t>(vocab), 0.0F);
  for (int rank = 0; rank < k && token * k + 1 + rank < vocab; ++rank)
    row[static_cast<std::size_t>(token * k + 1 + rank)] = static_cast<float>(k + 1 - rank);
  return row;
}

// Teaches every token's row, a chain of rows at a time.
void teach_rows(HandDriven& driven, int k, int vocab) {
  driven.begin({0});
  for (Token token = 0; token < vocab; ++token) {
    const DraftTree tree(token);
    HandScores scores({telling_row(token, k, vocab)});
    driven.observe(tree, scores, Tokens{0});
  }
}

std::vector<int> rank_path(const Tokens& path, int k) {
  std::vector<int> ranks;
  Token before = 0;
  for (const Token token : path) {
    ranks.push_back(token - before * k - 1);
    before = token;
  }
  return ranks;
}

TEST_CASE("the recycling tree has the most probable rank paths, counted by trying all") {
  const int k = 3, vocab = 400;
  const std::vector<double> acceptance{0.5, 0.21, 0.13};
  HandDriven driven("{type: token_recycling, top_k: 3, num_nodes: 20, rank_acceptance: [0.5, 0.21, 0.13]}", vocab);
  teach_rows(driven, k, vocab);

  std::vector<std::pair<double, std::vector<int>>> all;
  std::vector<std::pair<double, std::vector<int>>> level{{1.0, {}}};
  for (int depth = 1; depth <= 5; ++depth) {
    std::vector<std::pair<double, std::vector<int>>> next;
    for (const auto& [value, path] : level)
      for (int rank = 0; rank < k; ++rank) {
        next.emplace_back(value * acceptance[static_cast<std::size_t>(rank)], path);
        next.back().second.push_back(rank);
      }
    all.insert(all.end(), next.begin(), next.end());
    level = std::move(next);
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::set<std::vector<int>> expected, drafted;
  for (int i = 0; i < 20; ++i) expected.insert(all[static_cast<std::size_t>(i)].second);
  for (const Tokens& path : node_paths(driven.draft())) drafted.insert(rank_path(path, k));
  CHECK(drafted == expected);
}

TEST_CASE("the default recycling tree has 80 nodes; a token that was never scored has no successors") {
  HandDriven driven("token_recycling", 3000);
  CHECK(driven.drafter().limits().nodes == 80);
  CHECK(driven.drafter().traits().needs_logits);
  driven.begin({0});
  CHECK(driven.draft().size() == 1);
  const DraftTree tree(0);
  HandScores scores({telling_row(0, 8, 3000)});
  driven.observe(tree, scores, Tokens{0});
  CHECK(driven.draft().depth() == 1);
  CHECK(driven.draft().size() == 9);
}

TEST_CASE("the recycling matrix holds the last scores of every row, accepted or not, over all requests") {
  const auto target = toy_target();
  const Setup setup =
      toy_setup("{type: token_recycling, top_k: 4, num_nodes: 12, rank_acceptance: [0.4, 0.2, 0.1, 0.05]}", "rejection",
                "", target);
  std::map<Token, std::vector<Token>> matrix;
  bool same = true;
  int rounds = 0, drafted = 0;
  RunOptions options;
  options.decoder.on_round = [&](const RoundEvent& event) {
    const DraftTree& draft = event.view.draft;
    const Tokens before(event.view.committed.begin(), event.view.committed.end() - event.view.emitted);
    // Every drafted node is among the successors of its parent; a parent's children of depth 1 are its best ones.
    for (NodeId node = 1; node < draft.size(); ++node) {
      const std::vector<Token>& row = matrix[draft.node(draft.node(node).parent).token];
      same = same && std::find(row.begin(), row.end(), draft.node(node).token) != row.end();
    }
    if (event.record.depth > 0 && !matrix[before.back()].empty())
      same = same && draft.node(1).token == matrix[before.back()].front();
    for (NodeId node = 0; node < draft.size(); ++node) {
      Tokens seen = before;
      const Tokens path = draft.path(node);
      seen.insert(seen.end(), path.begin(), path.end());
      matrix[draft.node(node).token] = highest(target->logits_after(seen), 4);
    }
    ++rounds;
    drafted += draft.drafted();
  };
  std::vector<Request> requests;
  for (std::uint64_t id = 0; id < 3; ++id)
    requests.push_back({.id = id, .prompt = {static_cast<Token>(id), 5}, .max_new_tokens = 80});
  const auto out = run(setup, requests, options);
  CHECK(same);
  CHECK(drafted > 5 * rounds);
  for (std::size_t i = 0; i < out.size(); ++i) CHECK(out[i].tokens == reference_greedy(*target, requests[i]));
}

TEST_CASE("a recycling tree can come from a file, and mistakes in it are reported by line") {
  const TemporaryFolder folder;
  const auto with = [&](const std::string& text) {
    return "{type: token_recycling, top_k: 3, tree: \"" + folder.write("tree.yaml", text).string() + "\"}";
  };
  HandDriven driven(with("- [0, 1]\n- [0]\n- [2]\n- [0, 1, 2]\n"), 400);
  teach_rows(driven, 3, 400);
  std::set<std::vector<int>> drafted;
  for (const Tokens& path : node_paths(driven.draft())) drafted.insert(rank_path(path, 3));
  CHECK(drafted == std::set<std::vector<int>>{{0}, {2}, {0, 1}, {0, 1, 2}});
  CHECK(driven.drafter().limits().depth == 3);
  CHECK_THROWS_WITH(HandDriven(with("- [0]\n- [1, 0]\n"), 9), Catch::Contains("tree.yaml:2: [1, 0]: its parent"));
  CHECK_THROWS_WITH(HandDriven(with("- [0]\n- [3]\n"), 9),
                    Catch::Contains("tree.yaml:2: rank 3 is not one of the top_k: 0 to 2"));
  CHECK_THROWS_WITH(HandDriven(with("- [0]\n- [1]\n- [0]\n"), 9), Catch::Contains("tree.yaml:3: [0] is there twice"));
  CHECK_THROWS_WITH(HandDriven(with("- [0]\n- []\n"), 9), Catch::Contains("tree.yaml:2: expected a path of ranks"));
  CHECK_THROWS_WITH(HandDriven(with("paths: 3\n"), 9), Catch::Contains("expected a list of rank paths"));
  CHECK_THROWS_WITH(HandDriven("{type: token_recycling, rank_acceptance: [0.9, 0.2]}", 9),
                    Catch::Contains("sum to at most 1"));
}

TEST_CASE("recycling keeps to its budget and is lossless") {
  HandDriven driven("{type: token_recycling, num_nodes: 40}", 400);
  teach_rows(driven, 8, 400);
  for (int nodes = 0; nodes < 45; ++nodes)
    for (int depth = 0; depth < 5; ++depth) {
      const DraftTree tree = driven.draft(DraftBudget{nodes, depth, nodes});
      CHECK(tree.size() - 1 <= nodes);
      CHECK(tree.depth() <= depth);
    }
  for (const char* verifier : {"rejection", "traversal", "sample_then_match"})
    CHECK(check_exact(toy_setup("{type: token_recycling, num_nodes: 5}", verifier, "", toy_target(3))).value_or("") ==
          "");
}

}  // namespace
}  // namespace foretell::testing
