#include <filesystem>
#include <nlohmann/json.hpp>

#include "experiments/cli/commands/studies/commands.h"
#include "experiments/tables/roofline_table.h"
#include "experiments/tables/survey_table.h"
#include "experiments/tables/survey_table_measured.h"
#include "experiments/tables/survey_table_report.h"
#include "experiments/util/console.h"
#include "experiments/util/negative_result.h"
#include "experiments/util/table.h"
#include "framework/core/error.h"

namespace foretell::cli::commands::studies {
namespace {

struct TableOptions {
  std::optional<std::string> name;
  std::string tables = "configs/tables", results = "results", devices = "configs/hardware", format = "text";
  bool run = false, check = false, json = false;
};

void list_tables(const std::filesystem::path& folder) {
  util::Table table({"<name", "<table", "<published"});
  for (const auto& [name, file] : tables::survey_tables(folder)) {
    if (const ConfigValue document = load_yaml(file); tables::is_roofline_table(document)) {
      const tables::RooflineTable listed = tables::parse_roofline_table(document, file);
      table.add({name, listed.title, listed.source.to_string()});
      continue;
    }
    const tables::SurveyTable listed = tables::load_survey_table(file);
    table.add({name, listed.title, listed.source.to_string()});
  }
  util::print_out(table.to_string());
}

// A name, or a file of the user's own.
std::filesystem::path file_of(const std::string& name, const std::filesystem::path& folder) {
  if (std::filesystem::path(name).extension() == ".yaml") return name;
  const auto tables = tables::survey_tables(folder);
  if (const auto it = tables.find(name); it != tables.end()) return it->second;
  std::vector<std::string> known;
  known.reserve(tables.size());
  for (const auto& [other, file] : tables) known.push_back(other);
  throw Error(unknown_name_message("table", name, known));
}

void print_compared(const tables::ComparedTable& compared, const TableOptions& options) {
  if (options.json) return util::print_json(to_json(compared), 2);
  util::print_exact(options.format == "md"    ? tables::to_markdown(compared)
                    : options.format == "csv" ? tables::to_csv(compared)
                                              : to_text(compared));
}

// Nothing is run for it.
void show_roofline_table(const ConfigValue& document, const std::filesystem::path& file, const TableOptions& options) {
  if (options.format == "csv") fail("--format csv: a table of operators is text, md or --json");
  const auto compared = tables::compare_roofline(tables::parse_roofline_table(document, file), options.devices);
  if (options.json)
    util::print_json(tables::to_json(compared), 2);
  else
    util::print_exact(options.format == "md" ? tables::to_markdown(compared) : tables::to_text(compared));
  if (options.check && compared.reproduced_cells() < compared.cells()) throw util::NegativeResult();
}

void show_table(const TableOptions& options, RunStudyFile run_study) {
  if (!options.name) return list_tables(options.tables);
  const std::filesystem::path file = file_of(*options.name, options.tables);
  if (const ConfigValue document = load_yaml(file); tables::is_roofline_table(document))
    return show_roofline_table(document, file, options);
  const tables::SurveyTable table = tables::load_survey_table(file);
  FORETELL_CHECK(!options.run || run_study, "this program runs no study");
  if (options.run)
    for (const auto& study : tables::MeasuredStudies(table, options.results).to_run())
      run_study(study, options.results);
  const tables::ComparedTable compared = tables::compare_with(table, tables::MeasuredStudies(table, options.results));
  print_compared(compared, options);
  if (options.check && !tables::all_reproduced(compared)) throw util::NegativeResult();
}

}  // namespace

void add_table_command(util::Command app, RunStudyFile run_study) {
  auto options = std::make_shared<TableOptions>();
  util::Command command =
      app.add_command("table", "A published table beside what was measured here, with a verdict for each cell");
  command.add("name", options->name, "one of configs/tables, or a YAML file; all are listed without it",
              {.type = "NAME"});
  command.add("--tables", options->tables, "the folder of the tables", {.type = "DIR", .show_default = true});
  command.add("--results", options->results, "the folder of all results, as `foretell run` left it",
              {.type = "DIR", .show_default = true});
  command.add("--devices", options->devices, "the folder of devices, for tables of operators",
              {.type = "DIR", .show_default = true});
  command.add_flag("--run", options->run, "run the studies that have not been run");
  command.add("--format", options->format, "text, md or csv",
              {.type = "FORMAT", .show_default = true, .choices = {"text", "md", "csv"}});
  command.add_flag("--json", options->json, "as one JSON object");
  command.add_flag("--check", options->check, "exit with 1 if a cell that is declared reproducible is not reproduced");
  command.run([options, run_study] { show_table(*options, run_study); });
}

}  // namespace foretell::cli::commands::studies
