// Runs one cell: every prompt through the method and, beside it, through the baseline.
//
// Contract: conversations go in groups of run.batch_size. In each group, and in each repeat, the baseline runs first and then the method (with
// interleave: false all of the baseline runs before all of the method), in the same process, on the same models. Later turns contain the answers
// that the first run of this group gave to the earlier ones, so both pipelines see the same prompts. The method's requests know the baseline's
// tokens (Request::reference), which is what an oracle drafter needs; on a recorded target they know the recording. What warm-up runs give is
// dropped. After each group its records are on disk; an interrupt ends the cell between two groups.
#pragma once

#include <functional>
#include <vector>

#include "experiments/cell_setup.h"
#include "experiments/record.h"
#include "experiments/store.h"

namespace foretell {

struct CellRun {
  std::vector<GenerationRecord> records;
  bool complete = true;  // false: interrupted
};

// `on_prompts(n)` is called whenever n more conversations have gone through one pipeline once.
CellRun run_cell(const Cell& cell, CellSetup& setup, Store& store, const std::function<void(int)>& on_prompts);

// How many conversations on_prompts will report in total.
int planned_prompts(const Cell& cell, const CellSetup& setup);

}  // namespace foretell
