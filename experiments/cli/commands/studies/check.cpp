#include "experiments/analysis/advice.h"
#include "experiments/cell/cell_setup.h"
#include "experiments/cli/commands/studies/commands.h"
#include "experiments/study/plugins.h"
#include "experiments/study/thread_options.h"
#include "experiments/util/console.h"
#include "experiments/util/scratch_folder.h"
#include "framework/core/printable.h"
#include "framework/core/text.h"

namespace foretell::cli::commands::studies {
namespace {

struct CheckOptions {
  std::string study, devices = "configs/hardware";
  std::vector<std::string> overrides, plugins;
  std::optional<std::string> hardware;
  bool oversubscribe = false;
  std::optional<double> ratio;
};

void print_advice(const study::Study& study, const std::vector<cell::CheckedCell>& checked,
                  const cost::operators::Hardware& hardware) {
  for (std::size_t i = 0; i < checked.size(); ++i) {
    if (!checked[i].target || checked[i].limits.depth <= 0) continue;
    const analysis::Advice advice =
        analysis::advice_of(study.cells[i], checked[i], hardware, {.batches = {}, .lengths = {}});
    util::print_out(printable(fmt::format("advice: cell '{}' {}", study.cells[i].name, analysis::verdict_of(advice))) +
                    "\n");
  }
}

void check_study(const CheckOptions& options) {
  const study::Study study =
      study::load_study(options.study, study::with_oversubscribe(options.overrides, options.oversubscribe));
  std::optional<cost::operators::Hardware> hardware;
  if (options.hardware) hardware = cost::operators::load_hardware(*options.hardware, options.devices);
  // Random models that a study asks for are gone when the check is over: checking leaves nothing behind.
  const util::ScratchFolder scratch("check");
  cell::ModelPool pool(scratch.path());
  const std::vector<cell::CheckedCell> checked = cell::check_cells(study, pool);
  util::print_out(fmt::format("ok: {}\n", counted(study.cells.size(), "cell")));
  for (std::size_t i = 0; i < checked.size(); ++i)
    if (const std::string why = analysis::feasibility_of(study.cells[i], checked[i], options.ratio); !why.empty())
      util::print_out(printable(fmt::format("note: cell '{}': {}", study.cells[i].name, why)) + "\n");
  if (hardware) print_advice(study, checked, *hardware);
  for (std::size_t i = 0; i < checked.size(); ++i) {
    if (checked[i].lossless.towards_checkpoint) continue;
    const study::Cell& cell = study.cells[i];
    const std::string kept = has_rules(cell.pipeline) ? study::in_words(checked[i].lossless) : "lossy";
    util::print_out(printable(fmt::format("note: cell '{}' is {}", cell.name, kept)) + "\n");
  }
}

}  // namespace

void add_check_command(util::Command app) {
  auto options = std::make_shared<CheckOptions>();
  util::Command command = app.add_command("check", "Find what is wrong with a study without running it");
  command.add("study", options->study, "the study's YAML file", {.type = "STUDY.yaml", .required = true});
  command.add("--set", options->overrides, "override a value, as in `run`", {.type = "PATH=VALUE"});
  command.add("--ops-per-byte", options->ratio,
              "operations that the machine does while it reads one byte: beyond them a batch is too large for drafts; "
              "none: memory alone counts",
              {.type = "R", .min = 0.1, .max = 1e6});
  command.add("--hardware", options->hardware, "one of configs/hardware, or a YAML file: whether drafts can pay there",
              {.type = "NAME"});
  command.add("--devices", options->devices, "the folder of devices", {.type = "DIR", .show_default = true});
  study::add_oversubscribe_flag(command, options->oversubscribe);
  study::add_plugin_option(command, options->plugins);
  command.run([options] {
    study::load_plugins(options->plugins);
    check_study(*options);
  });
}

}  // namespace foretell::cli::commands::studies
