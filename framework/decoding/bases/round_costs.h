// What a round will take, by the measured cost of n rows.
//
// Contract: a round of plain decoding is one forward of as many rows as there are sequences; a round with drafts is one
// forward of the target over all rows, and for each level of the draft one forward of the draft model. A draft model
// that was not asked for a while first reads what it has missed, the prompt included: `unread`. Nothing else
// (verification, the loop) is counted. Where nothing was measured (a recorded answer, a check) forwards cost the same
// whatever their rows, as the papers assume, and a draft model's a tenth of the target's.
#pragma once

#include <memory>
#include <optional>

#include "framework/api/build_context.h"
#include "framework/api/drafter.h"
#include "framework/api/round.h"
#include "framework/cost/row_costs.h"

namespace foretell::bases {

class RoundCosts {
 public:
  // `draft_step`: a level of the draft in units of the target's forward of one row; none: measured with the study's
  // draft model.
  RoundCosts(const BuildContext& context, std::optional<double> draft_step);

  double score(double rows) const { return rows_->target(rows); }
  double plain(int batch) const { return score(batch); }
  // `levels` of a draft for `batch` sequences, one row each; they have `unread` tokens together.
  double draft(int levels, int batch, int unread) const;
  // What reading `unread` tokens takes beyond a level's own rows.
  double catch_up(int batch, int unread) const { return draft(1, batch, unread) - draft(1, batch, batch); }
  // One level of `rows` rows.
  double level(double rows) const;

 private:
  std::shared_ptr<const cost::RowCosts> rows_;
  std::optional<double> draft_step_;
};

// Adds the parameter `draft_cost`.
void declare_draft_cost(Parameters& p, std::optional<double>& draft_step);

// Nodes of a drafter with these limits where it stops at a depth: one each for a chain, an even share of a tree.
int nodes_at_depth(const DraftBudget& limits, int depth);

}  // namespace foretell::bases
