// Runs the cells of a study that belong together: every prompt through the baseline once and then through each cell, in
// one process.
//
// Contract: cells of one group (study.h) share target, dtype, threads, sampling, workload and baseline.
// Conversations go in batches of run.batch_size. For each batch, and in each repeat, the baseline runs first and then
// the cells in an order that is drawn anew from the seed, so that no cell always comes after the same one (with
// interleave: false one arm runs all batches before the next). The baseline's rows are written into every cell that was
// run beside them; a cell that is the baseline itself takes them as its own. What warm-up runs give is dropped. After
// each batch its records are on disk.
//
// An earlier run's records are taken as they are, batch by batch: what is complete is not run again, what was in flight
// is. Strategies that remember earlier prompts are brought up to date first (recorded_run.h). A cell that other
// weights, other inputs or another processor made is an Error.
#pragma once

#include <filesystem>
#include <functional>
#include <vector>

#include "experiments/analysis/prediction.h"
#include "experiments/analysis/report.h"
#include "experiments/cell/cell_setup.h"
#include "experiments/runner/record_distributions.h"
#include "experiments/runner/study_progress.h"
#include "framework/measurement/energy.h"

namespace foretell::runner {

struct RunContext {
  const study::Study& study;
  std::filesystem::path results;
  cell::ModelPool& pool;
  analysis::Predictor& predictor;
  StudyProgress& progress;
  measurement::EnergyMeter& energy;
  const std::optional<DistributionRecording>& recording;  // distributions are recorded beside the cells
  bool fresh = false;                                     // what is on disk is thrown away
};

// Where a cell stands in the progress; made for all cells of a study before the first group runs.
struct GroupPlan {
  std::vector<const study::Cell*> cells;
  std::vector<int> tasks;  // of the progress, one a cell
  int baseline_task = -1;  // none: the group has no baseline that would be run
};
// Groups in the order of their first cells. `prompts`: of each cell of the study.
std::vector<GroupPlan> plan_groups(const std::vector<study::Cell>& cells, const std::vector<int>& prompts,
                                   StudyProgress& progress);

// One result a cell, in the order of the plan. After an interrupt they hold what was finished.
std::vector<analysis::CellResult> run_group(const GroupPlan& plan, const RunContext& context);

}  // namespace foretell::runner
