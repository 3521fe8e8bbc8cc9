#include "framework/decoding/bases/round_account.h"

#include <algorithm>

namespace foretell::bases {

void PlanningOptions::declare(Parameters& p) {
  declare_draft_cost(p, draft_cost);
  loss.declare(p);
}

void RoundAccount::begin(std::span<const PolicyView> batch, std::span<const DraftBudget> limits) {
  const auto& sequences = sequences_.begin_round(batch);
  for (std::size_t i = 0; i < batch.size(); ++i) sequences[i]->committed = batch[i].committed;
  limits_ = limits.empty() ? DraftBudget{} : limits.front();
}

double RoundAccount::draft_levels(std::span<const int> depths) const {
  double ns = 0;
  for (int level = 1;; ++level) {
    const auto drafting = std::count_if(depths.begin(), depths.end(), [&](int depth) { return depth >= level; });
    if (drafting == 0) return ns;
    ns += costs_.level(static_cast<double>(drafting));
  }
}

double RoundAccount::time(std::span<const int> depths) const {
  int rows = static_cast<int>(depths.size());
  for (const int depth : depths) rows += nodes_at_depth(limits_, depth);
  return (draft_levels(depths) + costs_.score(rows)) / costs_.plain(batch());
}

double RoundAccount::catch_up(std::span<const int> depths) const {
  int drafting = 0, unread = 0;
  for (std::size_t i = 0; i < depths.size(); ++i) {
    if (depths[i] == 0) continue;
    ++drafting;
    unread += sequences_.round()[i]->committed - sequences_.round()[i]->read;
  }
  return drafting == 0 ? 0.0 : costs_.catch_up(drafting, unread) / costs_.plain(batch());
}

bool RoundAccount::allows(std::span<const int> depths) const {
  return limit_.allows(time(depths) - 1 + (drafted_before_ ? catch_up(depths) : 0.0));
}

double RoundAccount::end(std::span<const RoundRecord> records) {
  std::vector<int> depths;
  int rows = 0, emitted = 0;
  for (const RoundRecord& record : records) {
    depths.push_back(record.depth);
    rows += record.scored;
    emitted += record.emitted;
  }
  const double time = (draft_levels(depths) + costs_.score(rows)) / costs_.plain(batch());
  limit_.add(static_cast<double>(emitted) / batch(), time + (drafted_before_ ? catch_up(depths) : 0.0));
  for (std::size_t i = 0; i < depths.size(); ++i) {
    if (depths[i] == 0) continue;
    drafted_before_ = true;
    sequences_.round()[i]->read = sequences_.round()[i]->committed;
  }
  return time;
}

}  // namespace foretell::bases
