#include <nlohmann/json.hpp>

#include "experiments/cli/commands/inspect/commands.h"
#include "experiments/report/comparison.h"
#include "experiments/util/console.h"

namespace foretell::cli::commands::inspect {
namespace {

struct CompareOptions {
  std::string a, b;
  bool json = false;
};

void run_compare(const CompareOptions& options) {
  const report::StudyFolder a = report::read_study_folder(options.a), b = report::read_study_folder(options.b);
  const report::Comparison comparison = compare(a, b);
  if (options.json)
    util::print_json(report::comparison_json(a, b, comparison), 2);
  else
    util::print_out(report::comparison_text(a, b, comparison));
}

}  // namespace

void add_compare_command(util::Command app) {
  auto options = std::make_shared<CompareOptions>();
  util::Command command =
      app.add_command("compare", "Two studies' folders side by side: two runs, two versions, two machines");
  command.add("a", options->a, "a study's folder: results/STUDY", {.type = "DIR_A", .required = true});
  command.add("b", options->b, "another one", {.type = "DIR_B", .required = true});
  command.add_flag("--json", options->json, "print one JSON object");
  command.run([options] { run_compare(*options); });
}

}  // namespace foretell::cli::commands::inspect
