#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "experiments/cli/commands/inspect/commands.h"
#include "experiments/report/aliases.h"
#include "experiments/report/database.h"
#include "experiments/report/page.h"
#include "experiments/report/report_files.h"
#include "experiments/util/console.h"
#include "framework/core/error.h"
#include "framework/io/atomic_file.h"

namespace foretell::cli::commands::inspect {
namespace {

struct ReportOptions {
  std::string folder, format = "all";
  std::optional<std::string> out, chart_js, sqlite;
};

void run_report(const ReportOptions& options) {
  const report::StudyFolder study = report::read_study_folder(options.folder);
  const std::filesystem::path out = options.out.value_or(options.folder);
  io::make_folder(out);
  std::string written;
  const auto write = [&](const char* format, const char* name, const std::function<std::string()>& content) {
    if (options.format != "all" && options.format != format) return;
    io::write_file(out / name, content());
    written += (out / name).string() + "\n";
  };
  write("md", "report.md", [&] { return report::report_markdown(study); });
  write("csv", "report.csv", [&] { return report::report_csv(study); });
  write("csv", "report_aliases.csv", report::aliases_csv);
  write("json", "report.json", [&] { return report::exported_json(report::report_json(study)); });
  bool without_charts = false;
  write("html", "report.html", [&] {
    const std::string charts = report::chart_js_source(options.chart_js);
    without_charts = charts.empty();
    return report::report_page(study, charts);
  });
  if (options.sqlite) {
    report::write_database(study, *options.sqlite);
    written += *options.sqlite + "\n";
  }
  if (without_charts)
    written +=
        "report.html has no charts: Chart.js was not found (Debian: libjs-chart.js; --chart-js FILE names one)\n";
  util::print_out(report::report_text(study) + "\n" + written);
}

}  // namespace

void add_report_command(util::Command app) {
  auto options = std::make_shared<ReportOptions>();
  util::Command command = app.add_command("report", "Tables and charts of a study's folder, from its files alone");
  command.add("folder", options->folder, "the study's folder: results/STUDY", {.type = "DIR", .required = true});
  command.add("--format", options->format, "md, csv, json, html or all",
              {.type = "FORMAT", .show_default = true, .choices = {"md", "csv", "json", "html", "all"}});
  command.add("--out", options->out, "where report.md and the others go (default: DIR)", {.type = "DIR"});
  command.add("--chart-js", options->chart_js,
              "the Chart.js that is put into report.html (default: FORETELL_CHART_JS, then Debian's)",
              {.type = "FILE"});
  command.add("--sqlite", options->sqlite, "also write cells, generations and rounds into an SQLite database",
              {.type = "FILE"});
  command.run([options] { run_report(*options); });
}

}  // namespace foretell::cli::commands::inspect
