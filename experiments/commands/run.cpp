#include <ATen/Parallel.h>
#include <nlohmann/json.hpp>

#include "experiments/commands/commands.h"
#include "experiments/console.h"
#include "experiments/explanation.h"
#include "experiments/interrupt.h"
#include "experiments/manifest.h"
#include "experiments/plugins.h"
#include "experiments/prediction.h"
#include "experiments/progress.h"
#include "experiments/quality.h"
#include "experiments/report.h"
#include "experiments/runner.h"

namespace foretell {
namespace {

struct RunOptions {
  std::string study;
  std::vector<std::string> overrides, plugins;
  std::optional<int> limit;
  std::string out = "results";
  bool json = false;
};

std::vector<std::string> all_overrides(const RunOptions& options) {
  std::vector<std::string> overrides = options.overrides;
  if (options.limit) overrides.push_back(fmt::format("workload.limit={}", *options.limit));
  return overrides;
}

// What the cells of a run share.
struct RunContext {
  const Study& study;
  std::filesystem::path results;
  ModelPool& pool;
  Predictor& predictor;
  Progress& progress;
};

// Runs one cell and writes its summary; records of an interrupted cell are summed up as far as they go.
CellResult run_one(const Cell& cell, const RunContext& context) {
  const auto& [study, results, pool, predictor, progress] = context;
  CellSetup setup = set_up_cell(cell, study.file.parent_path(), pool);
  pool.forget_unused();
  Store store(cell_folder(results, study, cell), cell, make_manifest(study, cell, setup));
  progress.start_cell(cell.name, planned_prompts(cell, setup));
  CellRun run = run_cell(cell, setup, store, [&](int prompts) { context.progress.advance(prompts); });
  progress.finish_cell();
  if (run.complete && setup.greedy) {
    progress.start_part(cell.name + ", quality", answers_to_measure(run.records), "answers");
    measure_quality(cell, setup, run.records, [&] { context.progress.advance(1); });
    progress.finish_cell();
    store.write_quality(run.records);
  }
  CellResult result{cell,
                    fold(run.records, {setup.timed(), !cell.sampling.greedy(), cell.is_baseline}),
                    setup.workload.tasks,
                    store.folder(),
                    setup.timed(),
                    setup.inflated()};
  if (run.complete) result.prediction = predictor.predict(cell, setup, run.records);
  if (result.prediction) store.write_prediction(to_json(result.prediction));
  store.write_summary({{"study", study.name},
                       {"cell", cell.name},
                       {"complete", run.complete},
                       {"timed", setup.timed()},
                       {"inflated_from", to_json(result.inflated)},
                       {"settings", to_json(cell.settings)},
                       {"tasks", to_json(result.summary, result.tasks)}});
  return result;
}

void print_results(const Study& study, const std::vector<CellResult>& results, const std::filesystem::path& folder, bool json) {
  print_out(results_table(results));
  if (const std::string words = explain(results); !words.empty()) print_out("\n" + words);
  if (const std::string table = prediction_table(results); !table.empty())
    print_out(
        "\nMeasured acceptance beside what the overlap of draft and target predicts, on the study's text and on what was generated:\n\n" +
        table);
  const bool recorded = std::any_of(results.begin(), results.end(), [](const CellResult& r) { return !r.timed; });
  if (recorded) print_out("\nThe target is a recorded answer: its times mean nothing, so no speed is shown.\n");
  if (const std::string note = inflation_note(results); !note.empty()) print_out("\n" + note);
  print_out(fmt::format("\n{} in {}\n", results.size() == 1 ? "1 cell" : fmt::format("{} cells", results.size()), folder.string()));
  if (json) print_out(results_json(study, results).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

void run_study(const RunOptions& options) {
  load_plugins(options.plugins);
  const Study study = load_study(options.study, all_overrides(options));
  const std::filesystem::path results = options.out;
  ModelPool pool(results / ".models");
  Predictor predictor(study.overlap, study.file.parent_path(), pool);
  check_cells(study, pool);
  Progress progress(static_cast<int>(study.cells.size()));
  std::vector<CellResult> done;
  const InterruptGuard guard;
  for (const Cell& cell : study.cells) {
    if (interrupted()) break;
    if (cell.run.threads) at::set_num_threads(*cell.run.threads);
    done.push_back(run_one(cell, {study, results, pool, predictor, progress}));
  }
  print_results(study, done, results / study.name, options.json);
  flush_out();
  if (interrupted())
    throw Interrupted(fmt::format("interrupted; the prompts that were finished are kept in {}, and the same command starts the study again",
                                  (results / study.name).string()));
}

}  // namespace

void add_run_command(Command app) {
  auto options = std::make_shared<RunOptions>();
  Command command = app.add_command("run", "Run a study and print one table");
  command.add("study", options->study, "the study's YAML file", {.type = "STUDY.yaml", .required = true});
  command.add("--set", options->overrides, "override a value: a.b=c (repeatable); `drafter.` stands for `pipeline.drafter.`",
              {.type = "PATH=VALUE"});
  command.add("--limit", options->limit, "at most so many prompts (workload.limit)", {.type = "N"});
  add_plugin_option(command, options->plugins);
  command.add("--out", options->out, "the folder of all results", {.type = "DIR", .show_default = true});
  command.add_flag("--json", options->json, "end with the results as one JSON object");
  command.run([options] { run_study(*options); });
}

}  // namespace foretell
