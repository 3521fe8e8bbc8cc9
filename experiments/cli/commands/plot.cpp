#include <filesystem>

#include "experiments/cli/commands/commands.h"
#include "experiments/util/console.h"
#include "experiments/report/plot.h"

namespace foretell {
namespace {

struct PlotOptions {
  std::string folder, kind = "speedup";
  std::optional<std::string> out;
};

void run_plot(const PlotOptions& options) {
  const StudyFolder study = read_study_folder(options.folder);
  const std::filesystem::path file = options.out ? std::filesystem::path(*options.out) : study.folder / (options.kind + ".svg");
  draw_plot(study, options.kind, file);
  for (const ReportCell& cell : study.cells)
    if (!cell.damage.empty()) print_error(fmt::format("note: '{}' is left out, it is damaged: {}\n", cell.name, cell.damage));
  print_out(file.string() + "\n");
}

}  // namespace

void add_plot_command(Command app) {
  auto options = std::make_shared<PlotOptions>();
  Command command = app.add_command("plot", "A chart of a study's folder as SVG or PNG, drawn by gnuplot");
  command.add("folder", options->folder, "the study's folder: results/STUDY", {.type = "DIR", .required = true});
  command.add("--kind", options->kind, "speedup, acceptance, phases, predicted or pareto",
              {.type = "KIND", .show_default = true, .choices = plot_kinds()});
  command.add("--out", options->out, "the picture, .svg or .png (default: DIR/KIND.svg)", {.type = "FILE"});
  command.run([options] { run_plot(*options); });
}

}  // namespace foretell
