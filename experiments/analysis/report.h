// What `foretell run` says at its end: one table, and the same as JSON.
//
// Contract: pure; a number that does not exist is "-" in the table and null in JSON, never 0.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <string>
#include <vector>

#include "experiments/analysis/divergence.h"
#include "experiments/analysis/performance.h"
#include "experiments/analysis/prediction.h"
#include "experiments/results/inflated_models.h"
#include "experiments/results/result_files.h"
#include "experiments/results/summary.h"
#include "experiments/study/pipeline.h"
#include "experiments/study/study.h"

namespace foretell::analysis {

struct CellResult {
  study::Cell cell;
  results::Summary summary;
  std::vector<std::string> tasks;  // in the workload's order
  std::filesystem::path folder;
  bool timed = true;
  results::InflatedModels inflated = {};
  std::optional<Prediction> prediction = {};
  CellPerformance performance = {};
  bool complete = true;                         // false: interrupted
  std::optional<double> speedup_by_costs = {};  // of a replay, by the recorded costs of rows (distribution_replay.h)
  std::vector<std::string> notes = {};          // sentences that stand below the table
  bool lossless =
      true;  // method and baseline both: at temperature 0 their tokens are the same, ties of the target aside
  study::Losslessness keeps = {};               // whose distribution the method's output has
  std::optional<Divergences> divergences = {};  // where they are not, judged; none for cells that were not examined
};

// What summary.json holds. `fold`: how the result's summary was made of the records.
nlohmann::ordered_json summary_json(const study::Study& study, const CellResult& result,
                                    const results::FoldOptions& fold);

// With what its marks mean below: cells whose timing is unreliable, and those whose acceptance was given to them.
std::string results_table(const std::vector<CellResult>& results);
// Each timed cell's speed-up with its interval and verdict, beside what acceptance and the cost of n rows predict, and
// the reason; empty if none has one.
std::string speedup_table(const std::vector<CellResult>& results);
// Measured acceptance beside the predicted one, a row for each cell that has one; empty if none has.
std::string prediction_table(const std::vector<CellResult>& results);
nlohmann::ordered_json to_json(const std::optional<Prediction>& prediction);
std::optional<Prediction> prediction_from(const std::optional<results::ResultJson>& file);  // what to_json() gave
// For each lossless cell whose tokens are not the baseline's: how many answers, at which tokens, and whether these are
// ties; empty if there is none.
std::string divergence_note(const std::vector<CellResult>& results);
// A sentence for each inflated model; empty if there is none.
std::string inflation_note(const std::vector<CellResult>& results);
// A sentence for each cell whose target is scored under rules of its own; empty if there is none.
std::string rules_note(const std::vector<CellResult>& results);
// What was recorded or replayed, and what recorded costs of rows make of it; empty if there are no distributions.
std::string distributions_note(const std::vector<CellResult>& results);
nlohmann::ordered_json results_json(const study::Study& study, const std::vector<CellResult>& results);

}  // namespace foretell::analysis
