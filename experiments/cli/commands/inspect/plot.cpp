#include <filesystem>

#include "experiments/cli/commands/inspect/commands.h"
#include "experiments/report/plot.h"
#include "experiments/util/console.h"

namespace foretell::cli::commands::inspect {
namespace {

struct PlotOptions {
  std::string folder, kind = "speedup";
  std::optional<std::string> out;
};

void run_plot(const PlotOptions& options) {
  const report::StudyFolder study = report::read_study_folder(options.folder);
  const std::filesystem::path file =
      options.out ? std::filesystem::path(*options.out) : study.folder / (options.kind + ".svg");
  report::draw_plot(study, options.kind, file);
  for (const report::ReportCell& cell : study.cells)
    if (!cell.damage.empty())
      util::print_error(fmt::format("note: '{}' is left out, it is damaged: {}\n", cell.name, cell.damage));
  util::print_out(file.string() + "\n");
}

}  // namespace

void add_plot_command(util::Command app) {
  auto options = std::make_shared<PlotOptions>();
  util::Command command = app.add_command("plot", "A chart of a study's folder as SVG or PNG, drawn by gnuplot");
  command.add("folder", options->folder, "the study's folder: results/STUDY", {.type = "DIR", .required = true});
  command.add("--kind", options->kind, "speedup, acceptance, phases, predicted or pareto",
              {.type = "KIND", .show_default = true, .choices = report::plot_kinds()});
  command.add("--out", options->out, "the picture, .svg or .png (default: DIR/KIND.svg)", {.type = "FILE"});
  command.run([options] { run_plot(*options); });
}

}  // namespace foretell::cli::commands::inspect
