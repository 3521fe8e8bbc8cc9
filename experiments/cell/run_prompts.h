// The prompts of a run that is over, made again from its records.
//
// Contract: `records` are a whole run's, in its order. As in the run, later turns hold what was answered first, by
// whichever pipeline.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "experiments/cell/cell_setup.h"
#include "experiments/results/record.h"

namespace foretell::cell {

class RunPrompts {
 public:
  RunPrompts(const CellSetup& setup, std::span<const results::GenerationRecord> records);
  Tokens of(const results::GenerationRecord& record) const;

 private:
  const workload::Dialogue& dialogue_;
  std::map<std::string, const workload::Conversation*> conversations_;
  std::map<std::string, std::vector<std::string>> answers_;
};

}  // namespace foretell::cell
