// The account of a policy that plans with costs: what a round would take, what the last one took, and whether the next
// may still lose.
//
// Contract: begin() in plan(), with the budgets as they arrived; end() in observe(). Times are in units of a plain
// round of the same batch. A depth is given for each sequence of the batch, 0 for one that does not draft. What the
// first drafting round of a run spends on reading the prompt is not charged to the loss limit: without it there is
// nothing to be learned; what later sequences spend on it is.
#pragma once

#include <span>
#include <vector>

#include "framework/decoding/bases/loss_limit.h"
#include "framework/decoding/bases/round_costs.h"
#include "framework/decoding/bases/sequence_states.h"

namespace foretell::bases {

struct PlanningOptions {
  std::optional<double> draft_cost = {};
  LossLimitOptions loss = {};
  void declare(Parameters& p);
};

class RoundAccount {
 public:
  RoundAccount(const BuildContext& context, const PlanningOptions& options)
      : costs_(context, options.draft_cost), limit_(options.loss) {}

  void begin(std::span<const PolicyView> batch, std::span<const DraftBudget> limits);
  int batch() const { return static_cast<int>(sequences_.round().size()); }
  int max_depth() const { return limits_.depth; }
  // A round that drafts to these depths, the draft model having read what there is to read.
  double time(std::span<const int> depths) const;
  double time(int depth) const { return time(std::vector<int>(sequences_.round().size(), depth)); }
  // What it takes in addition because of tokens that the draft model has not read.
  double catch_up(std::span<const int> depths) const;
  // Whether that round may be lost altogether: nothing accepted.
  bool allows(std::span<const int> depths) const;
  bool allows(int depth) const { return allows(std::vector<int>(sequences_.round().size(), depth)); }
  // Charges the round and returns the time() of what was really drafted.
  double end(std::span<const RoundRecord> records);

 private:
  struct Sequence {
    int committed = 0, read = 0;  // tokens; by the draft model
  };
  double draft_levels(std::span<const int> depths) const;  // ns

  RoundCosts costs_;
  LossLimit limit_;
  SequenceStates<Sequence> sequences_;
  DraftBudget limits_;
  bool drafted_before_ = false;
};

}  // namespace foretell::bases
