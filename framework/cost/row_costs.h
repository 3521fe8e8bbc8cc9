// What a forward of n rows takes: the measured v(n) that decides how many nodes are worth scoring.
//
// Contract: a table of a few row counts, linear between them; above the last one the last two points are carried on.
// Never falls: noise only adds time, so a count that was measured more expensive than a larger one costs what that one
// does. Times are nanoseconds.
#pragma once

#include <vector>

namespace foretell::cost {

struct RowCost {
  int rows = 1;
  double ns = 0;
};

class RowCosts {
 public:
  // In increasing order of rows, at least one point for the target; none for the draft where no model drafts.
  explicit RowCosts(std::vector<RowCost> target, std::vector<RowCost> draft = {});
  // A forward costs the same whatever its rows: what the papers assume. `draft_share`: a draft forward in units of the
  // target's.
  static RowCosts flat(double draft_share = 0.0);

  double target(double rows) const { return at(target_, rows); }
  double draft(double rows) const { return draft_.empty() ? 0.0 : at(draft_, rows); }
  const std::vector<RowCost>& target_points() const { return target_; }
  const std::vector<RowCost>& draft_points() const { return draft_; }

 private:
  static double at(const std::vector<RowCost>& points, double rows);
  std::vector<RowCost> target_, draft_;
};

}  // namespace foretell::cost
