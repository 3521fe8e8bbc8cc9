// What `foretell run --dry-run` says: which cells would run, and about how long.
//
// Contract: nothing is decoded and nothing written. The time is an upper bound from two measured forwards of each
// target: every answer as long as it may be, every token a plain step, every prompt prefilled. Cells of a recorded
// target take no time worth naming.
#pragma once

#include <filesystem>
#include <string>

#include "experiments/cell/model_pool.h"
#include "experiments/study/study.h"

namespace foretell::runner {

std::string dry_run(const study::Study& study, const std::filesystem::path& results, cell::ModelPool& pool);

}  // namespace foretell::runner
