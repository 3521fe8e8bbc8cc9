// What a round's record says of the experts that its rows used.
#include "framework/decoding/expert_use.h"

#include "tests/support/catch.h"
#include "tests/support/rooms.h"

namespace foretell {
namespace {

ForwardResult routed(std::vector<RoutedLayer> layers) {
  ForwardResult result;
  result.routed = std::move(layers);
  return result;
}

TEST_CASE("a sequence's rows are counted by expert, beside their parents and the whole forward") {
  // Rows 0 and 1 are another sequence's; rows 2 to 5 a tree: 3 and 4 follow 2, 5 follows 3 and nobody takes it.
  const ForwardResult result = routed({{.layer = 1, .per_row = 2, .experts = {0, 1, 1, 0, 2, 3, 3, 5, 4, 2, -1, -1}}});
  const std::vector<NodeId> parents = {0, 0, 0, 1};
  const ExpertUse use = expert_use(result, 8, 2, 2, parents).value();
  CHECK(use.experts == 8);
  CHECK(use.sequences == 2);
  REQUIRE(use.layers.size() == 1);
  CHECK(use.layers[0] == LayerExperts{.layer = 1,
                                      .load = {{2, 2}, {3, 2}, {4, 1}, {5, 1}},
                                      .rows = 4,
                                      .dropped = 1,
                                      .pairs = 4,
                                      .shared = 2,
                                      .together = 6});
}

TEST_CASE("rows that do not come to a layer count nothing there") {
  const ForwardResult result = routed({{.layer = 3, .rows = {0, 2}, .per_row = 1, .experts = {6, 6}}});
  const std::vector<NodeId> parents = {0, 0, 1};
  const ExpertUse use = expert_use(result, 8, 1, 0, parents).value();
  CHECK(use.layers[0] == LayerExperts{.layer = 3, .load = {{6, 2}}, .rows = 2, .together = 1});
  CHECK_FALSE(expert_use(routed({}), 8, 1, 0, parents));
}

}  // namespace
}  // namespace foretell
