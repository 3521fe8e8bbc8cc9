#include "framework/cost/row_costs.h"

#include "tests/support/catch.h"

namespace foretell {
namespace {

TEST_CASE("costs between measured row counts are linear, above the last they go on, and they never fall") {
  const RowCosts costs({{1, 10}, {4, 16}, {8, 15}, {16, 32}}, {{1, 2}});
  CHECK(costs.target(1) == 10);
  CHECK(costs.target(4) == 15);  // 8 rows were measured as cheaper, and noise only adds
  CHECK(costs.target(2) == Approx(10 + 5 / 3.0));
  CHECK(costs.target(6) == 15);
  CHECK(costs.target(12) == 23.5);
  CHECK(costs.target(32) == 66);
  CHECK(costs.target(0) == 10);
  CHECK(costs.draft(100) == 2);
  CHECK(RowCosts({{1, 10}}).draft(3) == 0);
  CHECK(RowCosts::flat(0.25).target(64) == 1);
  CHECK(RowCosts::flat(0.25).draft(1) == 0.25);
}

}  // namespace
}  // namespace foretell
