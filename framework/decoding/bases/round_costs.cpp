#include "framework/decoding/bases/round_costs.h"

#include <algorithm>

namespace foretell::bases {
namespace {

constexpr double kAssumedDraftShare = 0.1;

std::shared_ptr<const cost::RowCosts> costs_of(const BuildContext& context) {
  auto measured = context.row_costs ? context.row_costs() : nullptr;
  return measured
             ? measured
             : std::make_shared<cost::RowCosts>(cost::RowCosts::flat(context.draft_model ? kAssumedDraftShare : 0.0));
}

}  // namespace

RoundCosts::RoundCosts(const BuildContext& context, std::optional<double> draft_step)
    : rows_(costs_of(context)), draft_step_(draft_step) {}

double RoundCosts::level(double rows) const {
  return draft_step_ ? *draft_step_ * rows_->target(1) : rows_->draft(rows);
}

double RoundCosts::draft(int levels, int batch, int unread) const {
  if (levels == 0) return 0;
  return level(std::max(unread, batch)) + (levels - 1) * level(batch);
}

void declare_draft_cost(Parameters& p, std::optional<double>& draft_step) {
  p.add("draft_cost", draft_step,
        "a level of the draft in units of a forward of the target with one row; none: the draft model is measured",
        {.min = 0});
}

int nodes_at_depth(const DraftBudget& limits, int depth) {
  if (limits.nodes <= limits.depth || limits.depth <= 0) return std::min(depth, limits.nodes);
  return std::min(limits.nodes, (limits.nodes * depth + limits.depth - 1) / limits.depth);
}

}  // namespace foretell::bases
