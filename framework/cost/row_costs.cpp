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

double value_at(const std::vector<RowCost>& points, double rows, double RowCost::*value) {
  if (points.size() == 1 || rows <= points.front().rows) return points.front().*value;
  const auto above =
      std::find_if(points.begin() + 1, points.end() - 1, [&](const RowCost& point) { return rows <= point.rows; });
  const RowCost &b = *above, &a = *(above - 1);
  return a.*value + (b.*value - a.*value) * (rows - a.rows) / (b.rows - a.rows);
}

}  // namespace

RowCosts::RowCosts(std::vector<RowCost> target, std::vector<RowCost> draft, double expert_share)
    : target_(rising(std::move(target))), draft_(rising(std::move(draft))), expert_share_(expert_share) {
  FORETELL_CHECK(!target_.empty(), "no cost of the target is given");
}

RowCosts RowCosts::flat(double draft_share) { return RowCosts({{1, 1.0}}, {{1, draft_share}}); }

double RowCosts::at(const std::vector<RowCost>& points, double rows) { return value_at(points, rows, &RowCost::ns); }

double RowCosts::target_experts(double rows) const { return value_at(target_, rows, &RowCost::experts); }

double RowCosts::target(double rows, double experts) const {
  const double measured = target_experts(rows);
  if (experts <= 0 || measured <= 0) return target(rows);
  return target(rows) * (1 + expert_share_ * experts) / (1 + expert_share_ * measured);
}

}  // namespace foretell::cost
