// What a study's table says, in words: for each setting outside the pipeline, which pipeline was fastest and why.
//
// Contract: pure; made of the summaries and of what the pipelines are. Empty where no cell was timed or had a baseline.
// A pipeline wins or loses only by its verdict: what was not judged, or shows no difference, comes first at most. One
// whose timing is unreliable, or whose acceptance was given to it, is named and in no order. The reason counts in plain
// tokens: a round that emits 3 tokens and takes as long as 2 plain steps gains 1.5x. (Prefill is in the speed-up and
// not in the rounds, so the two differ a little.)
#pragma once

#include <string>
#include <vector>

#include "experiments/analysis/report.h"

namespace foretell::analysis {

std::string explain(const std::vector<CellResult>& results);

}  // namespace foretell::analysis
