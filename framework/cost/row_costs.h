// What a forward of n rows takes: the measured v(n) that decides how many nodes are worth scoring.
//
// Contract: a table of a few row counts, linear between them; above the last one the last two points are carried on.
// Never falls: noise only adds time, so a count that was measured more expensive than a larger one costs what that one
// does. Times are nanoseconds.
//
// In a mixture of experts a forward reads what its rows touch. The table says how many distinct experts of a layer the
// measured forwards touched; one that touches fewer, because its rows follow one another in a text, is taken to cost
// less in proportion to the weights that it reads.
#pragma once

#include <vector>

namespace foretell::cost {

struct RowCost {
  int rows = 1;
  double ns = 0;
  double experts = 0;  // distinct ones of a layer that the measured forwards touched, on average; 0: not known, or none
};

class RowCosts {
 public:
  // In increasing order of rows, at least one point for the target; none for the draft where no model drafts.
  // `expert_share`: the weights of one expert in each layer, in units of all that a forward reads beside experts.
  explicit RowCosts(std::vector<RowCost> target, std::vector<RowCost> draft = {}, double expert_share = 0);
  // A forward costs the same whatever its rows: what the papers assume. `draft_share`: a draft forward in units of the
  // target's.
  static RowCosts flat(double draft_share = 0.0);

  double target(double rows) const { return at(target_, rows); }
  // Of a forward that touches so many experts of a layer; as measured where `experts` is 0 or nothing is known of them.
  double target(double rows, double experts) const;
  double target_experts(double rows) const;  // that the measured forwards touched; 0: not known
  double expert_share() const { return expert_share_; }
  double draft(double rows) const { return draft_.empty() ? 0.0 : at(draft_, rows); }
  const std::vector<RowCost>& target_points() const { return target_; }
  const std::vector<RowCost>& draft_points() const { return draft_; }

 private:
  static double at(const std::vector<RowCost>& points, double rows);
  std::vector<RowCost> target_, draft_;
  double expert_share_;
};

}  // namespace foretell::cost
