#include "experiments/certify/rule_rows.h"

namespace foretell::certify {

void judge(RuleRow& row, const Complaint& complaint, const std::string& missing) {
  if (complaint) {
    row.verdict = row.says_independent ? Ruling::Failed : Ruling::Lossy;
    row.reason = row.says_independent ? "it says that its rows are independent, but " + *complaint : *complaint;
  } else if (!row.says_independent) {
    row.verdict = Ruling::NotExercised;
    row.reason = "it says that rows depend on one another, and that did not show";
  } else if (!missing.empty()) {
    row.verdict = Ruling::NotExercised;
    row.reason = missing + " in the runs";
  } else {
    row.verdict = Ruling::Lossless;
  }
}

}  // namespace foretell::certify
