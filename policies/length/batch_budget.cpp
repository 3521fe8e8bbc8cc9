// Draft lengths by the size of the batch: from a table (vLLM's dynamic speculative decoding), or from what the batch's
// rows cost and which of them are likely to be accepted (vLLM's adaptive verification).
//
// Table: the depth of the first row [from, to, depth] that holds the batch size; a larger batch has the last row's.
// Without a table: the token at depth t of sequence r is of use with probability m(r, t) = a_r(1) ... a_r(t). For every
// number of rows Q that could be scored the Q - B most useful tokens are taken, which are prefixes of the drafts
// because m falls with t; the Q with the most (B + sum of m) a time wins.
//
// Deviations: vLLM ranks drafted tokens by the probabilities that the draft gave them and drops the rest; dropping a
// drawn token for what it is would change the distribution, so here the lengths are decided before anything is drawn,
// with the acceptance of the sequence so far in place of the token's own probability. That also saves the draft steps.
// What is tried while nothing would be drafted, and what that may lose, is bounded as in `cost_model`.
#include <algorithm>
#include <memory>

#include "framework/core/error.h"
#include "framework/decoding/bases/acceptance_estimate.h"
#include "framework/decoding/bases/round_account.h"

namespace foretell::policies::length {
namespace {

struct TableRow {
  int from, to, depth;
};

// Rows that start at 1 and follow one another without a gap, as vLLM demands.
std::vector<TableRow> read_table(const ConfigValue& value) {
  std::vector<TableRow> table;
  if (value.is_null()) return table;
  const char* expected =
      "expected rows [from, to, tokens] that follow one another from batch size 1: [[1, 8, 4], [9, 32, 1], [33, 64, "
      "0]]";
  if (!value.is_list() || value.items().empty())
    fail_at(value.where(), "num_speculative_tokens_per_batch_size: {}", expected);
  for (const ConfigValue& row : value.items()) {
    const auto number = [&](std::size_t place) {
      const std::int64_t found = read_int(row.items()[place], "num_speculative_tokens_per_batch_size");
      if (found < 0 || found > 1 << 20)
        fail_at(row.where(), "num_speculative_tokens_per_batch_size: {} is out of range", found);
      return static_cast<int>(found);
    };
    if (!row.is_list() || row.items().size() != 3)
      fail_at(row.where(), "num_speculative_tokens_per_batch_size: {}", expected);
    table.push_back({number(0), number(1), number(2)});
    const int due = table.size() == 1 ? 1 : table[table.size() - 2].to + 1;
    if (table.back().from != due || table.back().to < due)
      fail_at(row.where(), "num_speculative_tokens_per_batch_size: a row from {} to {} where one from {} is due; {}",
              table.back().from, table.back().to, due, expected);
  }
  return table;
}

struct BatchBudgetOptions {
  ConfigValue table;
  bases::AcceptanceOptions acceptance;
  bases::PlanningOptions planning;
  void declare(Parameters& p) {
    p.add("num_speculative_tokens_per_batch_size", table,
          "rows [from, to, tokens]: the depth for batch sizes from .. to; none: by cost", {.aliases = {"table"}});
    acceptance.declare(p);
    planning.declare(p);
    read_table(table);  // mistakes are found with those of the other parameters
  }
};

class BatchBudgetPolicy final : public DraftPolicy {
 public:
  using Options = BatchBudgetOptions;
  BatchBudgetPolicy(const Options& options, const BuildContext& context)
      : options_(options), table_(read_table(options.table)), run_(options.acceptance) {
    if (table_.empty()) account_.emplace(context, options.planning);
  }

  void plan(std::span<const PolicyView> batch, std::span<DraftBudget> budgets) override {
    if (!account_) {
      for (DraftBudget& budget : budgets) budget.depth = listed_depth(static_cast<int>(batch.size()));
      return;
    }
    account_->begin(batch, budgets);
    sequences_.begin_round(batch, [this] { return bases::AcceptanceEstimate(options_.acceptance, &run_); });
    std::vector<int> depths = best_depths();
    const bool idle = std::all_of(depths.begin(), depths.end(), [](int depth) { return depth == 0; });
    probing_ = idle && account_->max_depth() > 0 && probes_.due();
    if (probing_) depths.assign(depths.size(), 1);
    if (!account_->allows(depths)) depths.assign(depths.size(), 0);
    for (std::size_t i = 0; i < budgets.size(); ++i) budgets[i].depth = depths[i];
  }

  void observe(std::span<const RoundRecord> records) override {
    if (!account_) return;
    account_->end(records);
    bool drafted = false, accepted = false;
    for (std::size_t i = 0; i < records.size(); ++i) {
      run_.observe(records[i]);
      sequences_.round()[i]->observe(records[i]);
      drafted = drafted || records[i].depth > 0;
      accepted = accepted || records[i].accepted > 0;
    }
    if (probing_ && drafted) probes_.answer(accepted);
  }

 private:
  int listed_depth(int batch) const {
    const auto row = std::find_if(table_.begin(), table_.end() - 1, [&](const TableRow& r) { return batch <= r.to; });
    return row->depth;
  }

  std::vector<int> best_depths() const {
    struct Use {
      double probability;
      std::size_t sequence;
    };
    std::vector<Use> uses;
    for (std::size_t r = 0; r < sequences_.round().size(); ++r)
      for (const double probability : sequences_.round()[r]->reach(account_->max_depth()))
        uses.push_back({probability, r});
    std::stable_sort(uses.begin(), uses.end(),
                     [](const Use& a, const Use& b) { return a.probability > b.probability; });
    std::vector<int> depths(sequences_.round().size(), 0), best = depths;
    double emitted = account_->batch(), highest = emitted / account_->time(depths);
    for (const Use& use : uses) {
      ++depths[use.sequence];
      emitted += use.probability;
      const double speed = emitted / account_->time(depths);
      if (speed <= highest) continue;
      highest = speed;
      best = depths;
    }
    return best;
  }

  Options options_;
  std::vector<TableRow> table_;
  std::optional<bases::RoundAccount> account_;
  bases::AcceptanceEstimate run_;
  bases::SequenceStates<bases::AcceptanceEstimate> sequences_;
  bases::ProbeSchedule probes_;
  bool probing_ = false;
};

FORETELL_REGISTER(
    DraftPolicy, BatchBudgetPolicy, "batch_budget",
    {.summary = "draft lengths by the size of the batch: from a table, or each sequence's share of the rows that pay",
     .stateful = true,
     .uses_wall_clock = true});

}  // namespace
}  // namespace foretell::policies::length
