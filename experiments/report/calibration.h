// Which of a study's settings keeps a stated risk: thresholds of early exits, chosen on prompts with a guarantee
// (framework/metrics/risk_control.h).
//
// Contract: reads a folder that `run` has filled. Its cells differ in one setting, a number; they are tested from the
// safest value to the fastest, an order that the records have no say in. A prompt's loss is that of the method's first
// answer to it against the answer of the reference cell, which is the safest one; a conversation is one prompt, with
// the mean loss of its turns. The reference is not tested: it has no loss. Cells that are incomplete or damaged, two
// cells of one value, or other prompts than the reference's are an Error.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace foretell::report {

enum class AnswerLoss {
  Different,  // 1 if the tokens are not the reference's
  RougeL,     // 1 - ROUGE-L of the text against the reference's
  Wrong,      // 1 if the answer is wrong where the reference's is right
};
std::optional<AnswerLoss> answer_loss(std::string_view name);  // different, rouge_l, wrong
const char* name_of(AnswerLoss loss);

struct CalibrationOptions {
  std::string setting = {};  // "pipeline.target.exit.threshold"; empty: the only one that differs
  std::vector<std::pair<std::string, std::string>> where = {};  // other settings: these cells alone
  AnswerLoss loss = AnswerLoss::RougeL;
  double risk = 0.1, error = 0.05;
  bool ascending = false;  // the lowest value is the safest
};

struct CalibratedSetting {
  double value = 0;
  std::string cell = {};
  double mean_loss = 0, p_value = 0;
  std::optional<double> layers = {};  // a token's on average, where it was counted
};

struct Calibration {
  std::string setting = {};
  double reference = 0;
  std::string reference_cell = {};
  std::optional<double> reference_layers = {};
  int prompts = 0;
  std::vector<CalibratedSetting> tested = {};  // from safe to fast
  std::optional<int> chosen = {};              // of `tested`
};

Calibration calibrate(const std::filesystem::path& folder, const CalibrationOptions& options);

std::string calibration_text(const Calibration& calibration, const CalibrationOptions& options);
// The chosen value as a study's section, with the guarantee as a comment.
std::string calibration_yaml(const Calibration& calibration, const CalibrationOptions& options);

}  // namespace foretell::report
