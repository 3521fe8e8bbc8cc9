// How good a cell's answers are in the target's own eyes: what a lossy verifier must be asked about.
//
// Contract: measured after a cell has run, so that none of it is in a measured time; first repeats only. Each answer of
// the method is set beside what the target says greedily to the same prompt (generated here, unless the baseline has
// said it already), and each answer of either pipeline is read by the target again: its log probability in the unwarped
// distribution, whatever the sampling options were. Recorded targets have no distribution: nothing is measured.
#pragma once

#include <functional>
#include <span>

#include "experiments/cell/cell_setup.h"
#include "experiments/results/record.h"

namespace foretell::analysis {

// Fills in `quality`. `records` are a whole run's, in its order. Ctrl-C ends it early: the rest stays unmeasured.
// on_answer() is called after each.
void measure_quality(const study::Cell& cell, const cell::CellSetup& setup,
                     std::span<results::GenerationRecord> records, const std::function<void()>& on_answer = {});
// How many answers it will measure.
int answers_to_measure(std::span<const results::GenerationRecord> records);

}  // namespace foretell::analysis
