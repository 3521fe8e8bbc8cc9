#include <memory>

#include "experiments/cli/commands/inspect/commands.h"
#include "experiments/report/calibration.h"
#include "experiments/util/console.h"
#include "experiments/util/negative_result.h"
#include "framework/core/error.h"
#include "framework/io/atomic_file.h"

namespace foretell::cli::commands::inspect {
namespace {

struct CalibrateOptions {
  std::string folder, loss = "rouge_l";
  std::vector<std::string> where;
  std::optional<std::string> out;
  report::CalibrationOptions calibration;
};

void run_calibrate(const CalibrateOptions& given) {
  report::CalibrationOptions options = given.calibration;
  options.loss = report::answer_loss(given.loss).value();
  for (const double share : {options.risk, options.error})
    if (!(share > 0 && share < 1)) fail("--risk and --error: expected numbers between 0 and 1, found {}", share);
  for (const std::string& wanted : given.where) {
    const std::size_t at = wanted.find('=');
    if (at == std::string::npos || at == 0) fail("--where: expected SETTING=VALUE, found '{}'", wanted);
    options.where.emplace_back(wanted.substr(0, at), wanted.substr(at + 1));
  }
  const report::Calibration calibration = report::calibrate(given.folder, options);
  util::print_out(report::calibration_text(calibration, options));
  if (!calibration.chosen) throw util::NegativeResult();
  if (given.out) io::write_file(*given.out, report::calibration_yaml(calibration, options));
}

}  // namespace

void add_calibrate_command(util::Command app) {
  auto options = std::make_shared<CalibrateOptions>();
  util::Command command =
      app.add_command("calibrate", "The fastest threshold of a study that keeps a stated risk, with a guarantee");
  report::CalibrationOptions& calibration = options->calibration;
  command.add("results", options->folder, "a study's folder: results/STUDY", {.type = "DIR", .required = true});
  command.add("--over", calibration.setting,
              "the setting, a number: pipeline.target.exit.threshold; default: the only one that differs",
              {.type = "SETTING"});
  command.add("--where", options->where, "only cells with this setting; may be given again", {.type = "SETTING=VALUE"});
  command.add("--loss", options->loss,
              "of an answer: different (tokens), rouge_l (1 - ROUGE-L), wrong (where the reference is right)",
              {.show_default = true, .choices = {"different", "rouge_l", "wrong"}});
  command.add("--risk", calibration.risk, "the expected loss that is allowed", {.type = "SHARE", .show_default = true});
  command.add("--error", calibration.error, "the probability that it is exceeded all the same",
              {.type = "SHARE", .show_default = true});
  command.add_flag("--ascending", calibration.ascending,
                   "the lowest value is the safest one (entropy), not the highest");
  command.add("--out", options->out, "also write the value as a study's section", {.type = "FILE"});
  command.run([options] { run_calibrate(*options); });
}

}  // namespace foretell::cli::commands::inspect
