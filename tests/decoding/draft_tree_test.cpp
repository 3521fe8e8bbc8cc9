#include "framework/api/draft_tree.h"

#include "framework/core/error.h"
#include "framework/decoding/sequence.h"
#include "tests/support/catch.h"

namespace foretell {
namespace {

TEST_CASE("siblings are distinct, duplicates keep their multiplicity as proposals") {
  DraftTree tree(5);
  const DistributionId distribution = tree.add_distribution(Distribution::dense({1, 1, 1}), Draws::IndependentDraws);
  const NodeId a = tree.propose(kAnchor, 1, distribution);
  CHECK(tree.propose(kAnchor, 1, distribution) == a);
  CHECK(tree.size() == 2);
  CHECK(tree.drafted() == 1);
  CHECK(tree.proposals(kAnchor).size() == 2);
  const NodeId scored_only = tree.add(a, 2);
  CHECK(tree.drafted() == 1);
  CHECK(tree.depth() == 2);
  CHECK(tree.path(scored_only) == Tokens{1, 2});
  CHECK_FALSE(tree.is_chain());
}

TEST_CASE("a token that its distribution cannot give is an error of ours") {
  DraftTree tree(0);
  const DistributionId distribution = tree.add_distribution(Distribution::point_mass(4, 1), Draws::PointMass);
  CHECK_THROWS_AS(tree.propose(kAnchor, 2, distribution), InternalError);
  CHECK_THROWS_AS(tree.add(7, 1), InternalError);
}

TEST_CASE("pruning keeps ancestors and proposals") {
  DraftTree tree(0);
  const NodeId a = tree.choose(kAnchor, 1, 9), b = tree.choose(kAnchor, 2, 9), c = tree.choose(b, 3, 9);
  tree.choose(a, 4, 9);
  const DraftTree cut = tree.pruned(std::vector<NodeId>{c});
  REQUIRE(cut.size() == 3);
  CHECK(cut.node(1).token == 2);
  CHECK(cut.node(2).token == 3);
  CHECK(cut.drafted() == 2);
  CHECK(cut.is_chain());
}

struct StopAfter final : StopWatcher {
  int left;
  explicit StopAfter(int n) : left(n) {}
  bool push(Token) override { return --left == 0; }
};

TEST_CASE("a sequence stops at stop tokens, stop strings and limits, inside a draft too") {
  DraftTree tree(1);
  const NodeId a = tree.choose(kAnchor, 2, 9), b = tree.choose(a, 3, 9);
  const Verdict verdict{{a, b}, 4, NextKind::Bonus};
  Sequence plain(Request{.prompt = {1}});
  const Appended all = plain.append(tree, verdict);
  CHECK(all.emitted == 3);
  CHECK(all.accepted == 2);
  CHECK_FALSE(plain.finished());

  Sequence stopped(Request{.prompt = {1}, .stop_tokens = {3}});
  CHECK(stopped.append(tree, verdict).emitted == 2);
  CHECK(stopped.finish() == FinishReason::StopToken);

  Sequence text(Request{.prompt = {1}, .stop_watcher = std::make_shared<StopAfter>(1)});
  CHECK(text.append(tree, verdict).emitted == 1);
  CHECK(text.finish() == FinishReason::StopString);

  Sequence limited(Request{.prompt = {1}, .max_new_tokens = 2});
  CHECK(limited.append(tree, verdict).emitted == 2);
  CHECK(limited.finish() == FinishReason::Length);
  CHECK_THROWS_AS(Sequence(Request{}), Error);
}

}  // namespace
}  // namespace foretell
