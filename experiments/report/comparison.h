// Two studies' folders side by side: two runs, two versions, two machines.
//
// Contract: cells are paired by their hash; what is left, by equal settings where one cell on each side has them.
// Tokens are compared where both folders have them: of first repeats, by conversation and turn. A number that one side
// does not have is absent, and so is what would be computed from it.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <optional>
#include <string>
#include <vector>

#include "experiments/report/study_folder.h"

namespace foretell::report {

struct CellPair {
  const ReportCell* a = nullptr;
  const ReportCell* b = nullptr;
  bool by_hash = true;
  int answers = 0, different = 0;  // answers that both have; those of them that differ
};

struct FactDifference {
  std::string what, a, b;  // empty: unknown on that side
};

struct Comparison {
  std::vector<FactDifference> machine, models;  // what is different
  std::vector<std::string> same;                // what of the machine is known to be equal
  std::vector<CellPair> pairs;                  // in the order of A
  std::vector<const ReportCell*> only_a, only_b;
};

// Reads the answers of both folders. What it gives points into `a` and `b`.
Comparison compare(const StudyFolder& a, const StudyFolder& b);

std::string comparison_text(const StudyFolder& a, const StudyFolder& b, const Comparison& comparison);
nlohmann::ordered_json comparison_json(const StudyFolder& a, const StudyFolder& b, const Comparison& comparison);

}  // namespace foretell::report
