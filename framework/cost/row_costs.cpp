#include "framework/cost/row_costs.h"

#include <algorithm>

#include "framework/core/error.h"

namespace foretell::cost {
namespace {

std::vector<RowCost> rising(std::vector<RowCost> points) {
  for (std::size_t i = points.size(); i-- > 1;) {
    FORETELL_CHECK(points[i].rows > points[i - 1].rows, "{} rows after {}", points[i].rows, points[i - 1].rows);
    points[i - 1].ns = std::min(points[i - 1].ns, points[i].ns);
  }
  return points;
}

}  // namespace

RowCosts::RowCosts(std::vector<RowCost> target, std::vector<RowCost> draft)
    : target_(rising(std::move(target))), draft_(rising(std::move(draft))) {
  FORETELL_CHECK(!target_.empty(), "no cost of the target is given");
}

RowCosts RowCosts::flat(double draft_share) { return RowCosts({{1, 1.0}}, {{1, draft_share}}); }

double RowCosts::at(const std::vector<RowCost>& points, double rows) {
  if (points.size() == 1 || rows <= points.front().rows) return points.front().ns;
  const auto above =
      std::find_if(points.begin() + 1, points.end() - 1, [&](const RowCost& point) { return rows <= point.rows; });
  const RowCost &b = *above, &a = *(above - 1);
  return a.ns + (b.ns - a.ns) * (rows - a.rows) / (b.rows - a.rows);
}

}  // namespace foretell::cost
