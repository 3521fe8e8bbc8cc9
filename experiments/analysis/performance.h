// What a cell's speed comes from: predicted beside measured, what the target computes and reads for a token, memory.
//
// Contract: made of a cell's records and of what was measured before it ran (the cost of n rows). Predictions are for
// decoding, without prefill, as framework/cost/predicted_speedup.h has it, and for one sequence at a time: in a batch,
// forwards of several sequences cost what no cost of one sequence's rows says, and with open-loop arrivals who shares a
// forward is up to them. Operations and bytes are arithmetic (framework/cost/model_costs.h), those of the rounds
// divided by the tokens that they emitted; drafting with a model counts, other drafting does not. Peak memory of the
// process is that of all cells that have run in it so far.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <optional>
#include <span>
#include <string>

#include "experiments/results/record.h"
#include "experiments/results/summary.h"
#include "framework/cost/model_costs.h"
#include "framework/cost/predicted_speedup.h"
#include "framework/io/json_reader.h"
#include "framework/measurement/energy.h"

namespace foretell::cell {
struct CellSetup;
}  // namespace foretell::cell

namespace foretell::study {
struct Cell;
}  // namespace foretell::study

namespace foretell::analysis {

struct CellPerformance {
  std::optional<cost::SpeedupPrediction> predicted = {};  // none for a cell that drafted nothing
  std::string reason = {};
  std::optional<double> operations_per_token = {}, bytes_per_token = {};
  std::optional<cost::MemoryUse> memory = {};
  measurement::EnergySource energy = measurement::EnergySource::None;
};

// Takes the verdicts of tasks back whose times contradict one another or the measured cost of rows
// (framework/cost/timing_contradiction.h): their timing is unreliable, whatever their intervals are.
void judge_timing(const study::Cell& cell, const cell::CellSetup& setup,
                  std::span<const results::GenerationRecord> records, results::Summary& summary);

// `measured`: the fold of all the records. Nothing is predicted where its timing is unreliable.
CellPerformance performance_of(const study::Cell& cell, const cell::CellSetup& setup,
                               std::span<const results::GenerationRecord> records,
                               const results::TaskSummary& measured);

nlohmann::ordered_json to_json(const CellPerformance& performance);
// What to_json() gave; numbers that it does not know are absent, and so are predictions where the timing of `measured`
// is unreliable.
CellPerformance performance_from(const std::optional<io::OrderedJsonView>& json, const results::TaskSummary& measured);

}  // namespace foretell::analysis
