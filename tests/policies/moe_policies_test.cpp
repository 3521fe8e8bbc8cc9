// Rules that stop drafts where verification is expensive, as on mixtures of experts, beside what they would do by hand.
#include <algorithm>
#include <cmath>
#include <set>

#include "framework/decoding/bases/beam_tree.h"
#include "tests/policies/driver.h"
#include "tests/support/catch.h"

namespace foretell::testing {
namespace {

// A world in which k drafted tokens take 1 + slope * k plain rounds, and at most `accepts` of them are accepted.
struct World {
  double slope;
  int accepts;
  RoundRecord round(int depth) const {
    RoundRecord record = chain_round(depth, std::min(depth, accepts));
    record.ns.score = static_cast<std::int64_t>(std::llround(1000 * (1 + slope * depth)));
    return record;
  }
};

std::vector<int> played(DraftPolicy& policy, const World& world, int rounds, int limit = 6) {
  PolicyDriver driver(policy, limit);
  std::vector<int> depths;
  for (int i = 0; i < rounds; ++i) {
    depths.push_back(driver.plan_one());
    driver.observe(world.round(depths.back()));
  }
  return depths;
}

std::vector<int> runs(const std::vector<std::pair<int, int>>& of) {
  std::vector<int> out;
  for (const auto& [depth, rounds] : of) out.insert(out.end(), static_cast<std::size_t>(rounds), depth);
  return out;
}

TEST_CASE("cascade_utility climbs to the length of the highest utility, keeps it and climbs again from there",
          "[policies]") {
  const auto policy = make_policy("{type: cascade_utility, test_rounds: 2, set_rounds: 5}");
  // Utilities of 1 to 4 tokens: 1.67, 2.14, 2.5, 2.22.
  const std::vector<int> expected =
      runs({{0, 2}, {2, 2}, {3, 2}, {4, 2}, {3, 5}, {0, 2}, {3, 2}, {4, 2}, {2, 2}, {3, 5}});
  CHECK(played(*policy, {0.2, 3}, static_cast<int>(expected.size())) == expected);
}

TEST_CASE("cascade_utility climbs down where longer drafts gain nothing", "[policies]") {
  const auto policy = make_policy("{type: cascade_utility, test_rounds: 1, set_rounds: 4, first: 4}");
  // One token is accepted: utilities 1.67, 1.43, 1.25, 1.11, 1.0.
  CHECK(played(*policy, {0.2, 1}, 10) == runs({{0, 1}, {4, 1}, {5, 1}, {3, 1}, {2, 1}, {1, 1}, {1, 4}}));
}

TEST_CASE("cascade_utility stops drafting where it loses, for ever longer", "[policies]") {
  const auto policy = make_policy("{type: cascade_utility, test_rounds: 1, set_rounds: 4, longest_set: 10}");
  const auto test = std::vector<std::pair<int, int>>{{0, 1}, {2, 1}, {3, 1}, {1, 1}};
  std::vector<std::pair<int, int>> expected;
  for (const int pause : {4, 8, 10, 10}) {
    expected.insert(expected.end(), test.begin(), test.end());
    expected.emplace_back(0, pause);
  }
  const std::vector<int> depths = runs(expected);
  CHECK(played(*policy, {0.9, 0}, static_cast<int>(depths.size())) == depths);
}

TEST_CASE("cascade_utility decides for each sequence by itself and never above the limit", "[policies]") {
  const auto policy = make_policy("{type: cascade_utility, test_rounds: 1, set_rounds: 6, first: 3}");
  PolicyDriver driver(*policy, 2, 2);
  const World pays{0.1, 2}, loses{1.5, 0};
  std::vector<std::vector<int>> late;
  for (int i = 0; i < 10; ++i) {
    const std::vector<int> depths = driver.plan();
    CHECK(std::ranges::max(depths) <= 2);
    if (i >= 5 && i < 8) late.push_back(depths);
    driver.observe({pays.round(depths[0]), loses.round(depths[1])});
  }
  for (const std::vector<int>& depths : late) CHECK(depths == std::vector<int>{2, 0});
  const auto none = make_policy("cascade_utility");
  CHECK(played(*none, {0, 0}, 3, 0) == std::vector<int>{0, 0, 0});
}

TEST_CASE("evict scores as many of the most probable nodes as give the most tokens by their cost", "[policies]") {
  const std::vector<double> path{1, 0.9, 0.5, 0.45, 0.3, 0.1, 0.05, 0.05};
  DraftTree tree(0);
  for (Token token = 0; token < 7; ++token) tree.choose(kAnchor, token, 8);
  for (const double slope : {0.0, 0.05, 0.2, 0.4, 3.0}) {
    INFO(slope);
    std::vector<RowCost> costs;
    for (int rows = 1; rows <= 16; ++rows) costs.push_back({rows, 1 + slope * (rows - 1)});
    const auto policy = make_tree("{type: evict, top_k: 3, depth: 2, total_tokens: 8}",
                                  std::make_shared<RowCosts>(costs, std::vector<RowCost>{{1, 0.1}}));
    int best = 1;
    double highest = 0, expected = 1;
    for (int nodes = 1; nodes <= 7; ++nodes) {
      expected += path[static_cast<std::size_t>(nodes)];  // they are in order
      const double gain = expected / (1 + slope * nodes);
      if (gain > highest) {
        highest = gain;
        best = nodes;
      }
    }
    CHECK(policy->select(tree, path, 20) == most_probable_nodes(path, best));
    CHECK(policy->select(tree, path, 2).size() == static_cast<std::size_t>(std::min(best, 2)));
  }
}

}  // namespace
}  // namespace foretell::testing
