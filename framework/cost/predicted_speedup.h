// What a pipeline should gain by arithmetic: from what forwards cost on this machine, what drafting costs and how much
// is accepted.
//
// Source: Leviathan et al. 2022 (arXiv 2211.17192): (1 - a^(k+1)) / ((1 - a)(c k + 1)) for drafts of k tokens of which
// each is accepted with probability a, where a draft token costs c target forwards and more rows cost nothing. Here n
// rows cost what was measured, v(n), and drafting what it takes: the denominator is (draft + v(rows) + the rest) /
// (v(1) + a plain round's rest). With v flat, no rest and draft = c k v(1) it is theirs.
//
// An answer's end cuts its last round: the tokens that were accepted behind a stop token are thrown away, which costs
// short answers much (with nine tokens a round and answers of fourteen, a fifth). Where the lengths of answers are
// known, the tokens of a round are all tokens over the number of rounds that independent rounds need for them.
//
// Contract: pure. Times are nanoseconds, costs are in units of scoring one row. Rounds of one pipeline differ, and a
// mean depth would not do: a drafter that has ten tokens in every other round emits less than one that always has five.
// So a plan holds the shapes of rounds with their shares. A tree is its rows and its depth, and acceptance is then that
// of a level. Predictions leave out the prefill, as decode speeds do.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "framework/api/round.h"
#include "framework/cost/row_costs.h"

namespace foretell::cost {

struct RoundShape {
  int rows = 1;        // scored, the anchor included
  int depth = 0;       // tokens on the longest path of the draft; 0: plain decoding
  double share = 1;    // of all rounds
  double experts = 0;  // distinct ones of a layer that its forwards touched, on average; 0: not known, or none
};

// The rounds of a pipeline, and what they take on the average.
struct RoundPlan {
  std::vector<RoundShape> shapes = {};  // shares add up to 1
  double draft_ns = 0;                  // of the whole draft
  double other_ns = 0;                  // verification and commit
  double plain_other_ns = 0;            // of a plain round
  std::map<int, int> answers = {};      // how many answers have so many tokens; none: they do not end

  double mean_rows() const;
  double mean_depth() const;
};

// Distinct experts of a layer that the round's own rows touched, on average; 0 where there are none.
double touched_experts(const RoundRecord& round);

// What was measured. `plain`: rounds of the baseline, if there are any; without them `other` is taken to cost a plain
// round nothing. No round at all is a plan of plain decoding.
RoundPlan plan_of(std::span<const RoundRecord> rounds, std::span<const RoundRecord> plain = {});
// [tokens / round] of a plan, if level i of a draft is accepted with probability conditional[i - 1] once it is reached;
// levels behind the last one that is given are rejected.
double emitted_by(const RoundPlan& plan, std::span<const double> conditional);
// A chain of `depth` tokens of the draft model that `costs` knows, before anything ran.
RoundPlan chain_plan(const RowCosts& costs, int depth);

struct AcceptanceFacts {
  std::optional<double> per_level = {};  // one probability for all depths; metrics.h: acceptance_per_trial()
  std::vector<double> conditional_per_position = {};  // entry i - 1: depth i, given that i - 1 was accepted
};

struct SpeedupPrediction {
  double rows = 1, depth = 0;                             // means
  double score_cost = 1, draft_cost = 0, other_cost = 0;  // of a round, in forwards of one row
  double plain_cost = 1;                                  // of a plain round, in the same unit
  // In plain rounds: as many tokens have to be emitted to break even.
  double round_cost() const { return (score_cost + draft_cost + other_cost) / plain_cost; }
  std::optional<double> acceptance = {};  // per level, as given
  std::optional<double> iid = {};         // speed-up with it at every depth
  std::optional<double> position_wise =
      {};             // with each position's own; positions that were never evaluated count as rejected
  double oracle = 1;  // if every drafted token were accepted
  // The least acceptance per level with which the iid speed-up is 1; absent where even 1.0 does not reach it, and 0
  // where drafting costs nothing.
  std::optional<double> break_even = {};
};

SpeedupPrediction predict_speedup(const RowCosts& costs, const RoundPlan& plan, const AcceptanceFacts& acceptance);

// One sentence without its period: "loses: scoring 5 rows costs 2.1x one row, drafting 0.4x; needs acceptance 0.71, has
// 0.55". Whether it wins is what was measured, if that is given; where the arithmetic disagrees, it is told.
std::string reason_of(const SpeedupPrediction& prediction, std::optional<double> measured_speedup = {});
// The same where nothing is predicted, because `sequences` share a forward.
std::string unpredicted_reason(int sequences, std::optional<double> measured_speedup);

}  // namespace foretell::cost
