// The prompts of a run that is over, made again from its records.
//
// Contract: `records` are a whole run's, in its order. As in the run, later turns hold what was answered first, by whichever pipeline.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "experiments/cell/cell_setup.h"
#include "experiments/results/record.h"

namespace foretell {

class RunPrompts {
 public:
  RunPrompts(const CellSetup& setup, std::span<const GenerationRecord> records);
  Tokens of(const GenerationRecord& record) const;

 private:
  const Dialogue& dialogue_;
  std::map<std::string, const Conversation*> conversations_;
  std::map<std::string, std::vector<std::string>> answers_;
};

}  // namespace foretell
