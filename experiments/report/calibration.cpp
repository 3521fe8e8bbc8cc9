#include "experiments/report/calibration.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "experiments/report/study_folder.h"
#include "experiments/results/record_reader.h"
#include "experiments/util/table.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/metrics/risk_control.h"
#include "framework/metrics/rouge.h"

namespace foretell::report {
namespace {

std::optional<std::string> value_of(const ReportCell& cell, const std::string& setting) {
  for (const auto& [name, value] : cell.settings)
    if (name == setting) return value;
  return std::nullopt;
}

std::string the_setting(const StudyFolder& study, const std::vector<const ReportCell*>& cells,
                        const CalibrationOptions& options) {
  if (!options.setting.empty()) return options.setting;
  std::vector<std::string> different;
  for (const ReportCell* cell : cells)
    for (const auto& [name, value] : cell->settings)
      if (value_of(*cells.front(), name) != value &&
          std::find(different.begin(), different.end(), name) == different.end())
        different.push_back(name);
  if (different.size() == 1) return different.front();
  if (different.empty()) fail("{}: its cells differ in no setting; sweep the one to calibrate", study.folder.string());
  fail("{}: its cells differ in {}; choose one by --over, and cells by --where SETTING=VALUE", study.folder.string(),
       fmt::format("{}", fmt::join(different, ", ")));
}

struct Candidate {
  double value;
  const ReportCell* cell;
};

std::vector<Candidate> candidates(const StudyFolder& study, const std::vector<const ReportCell*>& cells,
                                  const std::string& setting, bool ascending) {
  std::vector<Candidate> out;
  for (const ReportCell* cell : cells) {
    const auto text = value_of(*cell, setting);
    if (!text) fail("{}: cell '{}' has no setting '{}'", study.folder.string(), cell->name, setting);
    double value = 0;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
    if (error != std::errc() || end != text->data() + text->size())
      fail("{}: cell '{}': {} is '{}', expected a number", study.folder.string(), cell->name, setting, *text);
    if (cell->state != CellState::Complete)
      fail("{}: cell '{}' is {}: finish the run first", study.folder.string(), cell->name, name_of(cell->state));
    out.push_back({value, cell});
  }
  std::sort(out.begin(), out.end(), [ascending](const Candidate& a, const Candidate& b) {
    return ascending ? a.value < b.value : a.value > b.value;
  });
  for (std::size_t i = 1; i < out.size(); ++i)
    if (out[i].value == out[i - 1].value)
      fail("{}: cells '{}' and '{}' have the same {}; choose by --where SETTING=VALUE", study.folder.string(),
           out[i - 1].cell->name, out[i].cell->name, setting);
  if (out.size() < 2)
    fail("{}: {} to calibrate over, expected a reference and one more", study.folder.string(),
         counted(static_cast<int>(out.size()), "cell"));
  return out;
}

// The method's first answers, by conversation and turn, and the layers of a token.
struct Answered {
  std::map<std::pair<std::string, int>, results::GenerationRecord> answers = {};
  std::optional<double> layers = {};
};

Answered answers_of(const std::filesystem::path& folder) {
  Answered out;
  double layers = 0, tokens = 0;
  for (results::GenerationRecord& record : results::undamaged_records(folder)) {
    if (record.arm != results::PipelineVariant::Method || record.repeat != 0) continue;
    for (const RoundRecord& round : record.rounds) {
      layers += round.work ? round.work->layers : 0;
      tokens += round.work ? round.emitted : 0;
    }
    record.rounds.clear();
    std::pair key(record.conversation, record.turn);
    out.answers.emplace(std::move(key), std::move(record));
  }
  if (tokens > 0) out.layers = layers / tokens;
  return out;
}

double loss_of(const results::GenerationRecord& answer, const results::GenerationRecord& reference, AnswerLoss loss,
               const std::string& where) {
  switch (loss) {
    case AnswerLoss::Different: return answer.tokens == reference.tokens ? 0 : 1;
    case AnswerLoss::RougeL: return 1 - metrics::rouge_l(answer.text, reference.text);
    case AnswerLoss::Wrong: break;
  }
  if (!answer.exact || !reference.exact)
    fail("{}: the workload knows no right answer to prompt '{}'; choose another --loss", where, answer.conversation);
  return *reference.exact && !*answer.exact ? 1 : 0;
}

// One a conversation, in their order.
std::vector<double> losses_of(const Answered& cell, const Answered& reference, AnswerLoss loss,
                              const std::string& where) {
  std::map<std::string, std::pair<double, int>> sums;
  if (cell.answers.size() != reference.answers.size())
    fail("{}: {} answers, the reference has {}", where, cell.answers.size(), reference.answers.size());
  for (const auto& [key, answer] : cell.answers) {
    const auto found = reference.answers.find(key);
    if (found == reference.answers.end()) fail("{}: the reference has no prompt '{}'", where, key.first);
    auto& [sum, turns] = sums[key.first];
    sum += loss_of(answer, found->second, loss, where);
    ++turns;
  }
  std::vector<double> out;
  out.reserve(sums.size());
  for (const auto& [conversation, sum] : sums) out.push_back(sum.first / sum.second);
  return out;
}

// Whether a prompt's loss is 0 or 1 by what it is, whatever the answers were: which test is used may not depend on
// them.
bool is_zero_or_one(AnswerLoss loss, const Answered& reference) {
  return loss != AnswerLoss::RougeL && std::all_of(reference.answers.begin(), reference.answers.end(),
                                                   [](const auto& answer) { return answer.first.second == 0; });
}

std::string promise(const Calibration& calibration, const CalibrationOptions& options) {
  const char* const what =
      options.loss == AnswerLoss::RougeL      ? "the expected 1 - ROUGE-L against the reference's answer"
      : options.loss == AnswerLoss::Different ? "the probability of another answer than the reference's"
                                              : "the probability of a wrong answer where the reference's is right";
  return fmt::format("{} is at most {}, with probability {} over the draw of the {} prompts", what, options.risk,
                     1 - options.error, calibration.prompts);
}

}  // namespace

std::optional<AnswerLoss> answer_loss(std::string_view name) {
  for (const AnswerLoss loss : {AnswerLoss::Different, AnswerLoss::RougeL, AnswerLoss::Wrong})
    if (name == name_of(loss)) return loss;
  return std::nullopt;
}

const char* name_of(AnswerLoss loss) {
  return loss == AnswerLoss::Different ? "different" : loss == AnswerLoss::RougeL ? "rouge_l" : "wrong";
}

Calibration calibrate(const std::filesystem::path& folder, const CalibrationOptions& options) {
  const StudyFolder study = read_study_folder(folder);
  std::vector<const ReportCell*> cells;
  for (const ReportCell& cell : study.cells)
    if (std::all_of(options.where.begin(), options.where.end(),
                    [&](const auto& wanted) { return value_of(cell, wanted.first) == wanted.second; }))
      cells.push_back(&cell);
  if (cells.empty()) fail("{}: no cell has the settings of --where", folder.string());

  Calibration out{.setting = the_setting(study, cells, options)};
  const std::vector<Candidate> order = candidates(study, cells, out.setting, options.ascending);
  const Answered reference = answers_of(folder / order.front().cell->hash);
  out.reference = order.front().value;
  out.reference_cell = order.front().cell->name;
  out.reference_layers = reference.layers;
  const bool exact = is_zero_or_one(options.loss, reference);
  std::vector<double> p_values;
  for (std::size_t i = 1; i < order.size(); ++i) {
    const std::filesystem::path where = folder / order[i].cell->hash;
    const Answered cell = answers_of(where);
    const std::vector<double> losses = losses_of(cell, reference, options.loss, where.string());
    if (losses.empty()) fail("{}: no answers", where.string());
    out.prompts = static_cast<int>(losses.size());
    double sum = 0;
    for (const double loss : losses) sum += loss;
    const double mean = sum / out.prompts;
    p_values.push_back(exact ? metrics::binomial_p(mean, out.prompts, options.risk)
                             : metrics::hoeffding_bentkus_p(mean, out.prompts, options.risk));
    out.tested.push_back({order[i].value, order[i].cell->name, mean, p_values.back(), cell.layers});
  }
  out.chosen = metrics::fixed_sequence(p_values, options.error);
  return out;
}

std::string calibration_text(const Calibration& calibration, const CalibrationOptions& options) {
  const auto layers = [](const std::optional<double>& value) {
    return value ? fmt::format("{:.2f}", *value) : std::string("-");
  };
  util::Table table(
      {fmt::format("{}", calibration.setting.substr(calibration.setting.rfind('.') + 1)), "layers", "loss", "p", "<"});
  table.add({fmt::format("{}", calibration.reference), layers(calibration.reference_layers), "0", "-", "reference"});
  for (std::size_t i = 0; i < calibration.tested.size(); ++i) {
    const CalibratedSetting& tested = calibration.tested[i];
    const int index = static_cast<int>(i), last = calibration.chosen.value_or(-1);
    table.add({fmt::format("{}", tested.value), layers(tested.layers), fmt::format("{:.4f}", tested.mean_loss),
               fmt::format("{:.2g}", tested.p_value),
               index < last        ? "passes"
               : index == last     ? "passes, chosen"
               : index == last + 1 ? "fails"
                                   : "not tested"});
  }
  std::string out = fmt::format("{} over {}, {}\n\n{}\n", calibration.setting, counted(calibration.prompts, "prompt"),
                                name_of(options.loss), table.to_string());
  if (calibration.chosen) {
    out += fmt::format("{}: {}\n{}.\nIt holds for prompts like these and the same decoding options.\n",
                       calibration.setting, calibration.tested[static_cast<std::size_t>(*calibration.chosen)].value,
                       promise(calibration, options));
  } else if (const int fewest = metrics::fewest_prompts(options.risk, options.error); calibration.prompts < fewest) {
    out += fmt::format("no value passes: {} prove nothing, a risk of {} at an error of {} takes {} at least\n",
                       counted(calibration.prompts, "prompt"), options.risk, options.error, fewest);
  } else {
    out += fmt::format("no value passes: not even {} keeps the risk of {} for sure\n", calibration.tested.front().value,
                       options.risk);
  }
  return out;
}

std::string calibration_yaml(const Calibration& calibration, const CalibrationOptions& options) {
  std::string out =
      fmt::format("# foretell calibrate: {}.\n# Reference: {} {} (cell '{}').\n", promise(calibration, options),
                  calibration.setting, calibration.reference, calibration.reference_cell);
  std::string indent;
  std::string_view rest = calibration.setting;
  for (std::size_t dot = rest.find('.'); dot != std::string_view::npos; dot = rest.find('.')) {
    out += fmt::format("{}{}:\n", indent, rest.substr(0, dot));
    indent += "  ";
    rest.remove_prefix(dot + 1);
  }
  return out + fmt::format("{}{}: {}\n", indent, rest,
                           calibration.tested[static_cast<std::size_t>(calibration.chosen.value())].value);
}

}  // namespace foretell::report
