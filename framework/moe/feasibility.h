// Whether a draft can pay at all, by arithmetic and before anything runs.
//
// Contract: pure. A forward takes as long as the bytes that it reads, or as its operations by the machine's ratio of
// operations to bytes, whichever is more (framework/cost/model_costs.h: experts by uniform independent routing, which
// real routing undercuts). A round scores the draft and one row for each of `batch` sequences; plain decoding one row
// each. What drafting itself takes is given as bytes of a step of one sequence's draft.
#pragma once

#include <optional>
#include <string>

#include "framework/cost/model_costs.h"

namespace foretell::moe {

struct DraftCase {
  cost::ModelShape target = {};
  int depth = 1, nodes = 1;  // of a draft
  int batch = 1;
  double context = 0;                              // tokens that are attended to
  double step_bytes = 0;                           // read by one level of a draft
  std::optional<double> operations_per_byte = {};  // of the machine; none: memory alone counts
};

struct Feasibility {
  double score_cost = 1;                  // of a round's forward, in forwards of one row of each sequence
  double draft_cost = 0;                  // of all levels, in the same unit
  double experts = 0, plain_experts = 0;  // distinct ones of a layer in these forwards; 0: a dense model
  double oracle = 1;                      // speed-up if all levels are accepted
  std::optional<double> break_even = {};  // least acceptance per level with which nothing is lost; none: not even 1
};

Feasibility draft_feasibility(const DraftCase& of);

// "scoring 4 rows reads 2.1x one row (6.1 of 8 experts instead of 2.0), drafting 1.1x: even full acceptance gives
// 0.87x", or "..: pays from an acceptance of 0.93 on"; empty where a draft pays below `high`.
std::string feasibility_note(const DraftCase& of, const Feasibility& found, double high = 0.9);

}  // namespace foretell::moe
