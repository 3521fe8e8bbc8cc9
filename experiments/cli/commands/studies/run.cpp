#include <ATen/Parallel.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "experiments/analysis/explanation.h"
#include "experiments/analysis/prediction.h"
#include "experiments/analysis/report.h"
#include "experiments/cli/commands/studies/commands.h"
#include "experiments/cli/commands/studies/run.h"
#include "experiments/results/config_json.h"
#include "experiments/results/result_files.h"
#include "experiments/results/store.h"
#include "experiments/results/study_lock.h"
#include "experiments/runner/dry_run.h"
#include "experiments/runner/machine_watch.h"
#include "experiments/runner/record_distributions.h"
#include "experiments/runner/runner.h"
#include "experiments/study/plugins.h"
#include "experiments/study/shards.h"
#include "experiments/study/thread_options.h"
#include "experiments/util/console.h"
#include "experiments/util/interrupt.h"
#include "experiments/util/shell_quote.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/io/atomic_file.h"
#include "framework/measurement/energy.h"

namespace foretell::cli::commands::studies {
namespace {

struct RunOptions {
  std::string study;
  std::vector<std::string> overrides, plugins;
  std::optional<int> limit;
  std::string out = "results";
  std::optional<std::string> shard;
  std::optional<std::string> record;
  std::optional<int> record_top_k;
  bool dry_run = false, fresh = false, json = false, oversubscribe = false;
};

std::vector<std::string> all_overrides(const RunOptions& options) {
  std::vector<std::string> overrides = options.overrides;
  if (options.limit) overrides.push_back(fmt::format("workload.limit={}", *options.limit));
  return study::with_oversubscribe(std::move(overrides), options.oversubscribe);
}

void print_results(const study::Study& study, const std::vector<analysis::CellResult>& results,
                   const std::filesystem::path& folder, bool json) {
  util::print_out(analysis::results_table(results));
  if (const std::string note = analysis::divergence_note(results); !note.empty()) util::print_out("\n" + note);
  if (const std::string table = analysis::speedup_table(results); !table.empty())
    util::print_out(
        "\nSpeed-up over the baseline with its 95% interval over prompts (over batches, where prompts share a clock), "
        "and without the "
        "prefill "
        "beside what acceptance and the measured cost of rows predict:\n\n" +
        table +
        fmt::format("\nIntervals: {}. Fewer than {} prompts or batches are not judged.\n", metrics::kCoverageWords,
                    metrics::kLeastPrompts));
  if (const std::string words = analysis::explain(results); !words.empty()) util::print_out("\n" + words);
  if (const std::string table = analysis::prediction_table(results); !table.empty())
    util::print_out(
        "\nMeasured acceptance beside what the overlap of draft and target predicts, on the study's text and on what "
        "was generated:\n\n" +
        table);
  const bool recorded =
      std::any_of(results.begin(), results.end(), [](const analysis::CellResult& r) { return !r.timed; });
  if (recorded) util::print_out("\nThe target is a recorded answer: its times mean nothing, so no speed is shown.\n");
  util::print_out(analysis::distributions_note(results));
  if (const std::string note = analysis::rules_note(results); !note.empty()) util::print_out("\n" + note);
  if (const std::string note = analysis::inflation_note(results); !note.empty()) util::print_out("\n" + note);
  util::print_out(fmt::format("\n{} in {}; `foretell report {}` makes tables and a page with charts\n",
                              counted(results.size(), "cell"), folder.string(), util::shell_quoted(folder.string())));
  if (json) util::print_json(analysis::results_json(study, results), 2);
}

// The study's cells with their names, for `foretell report`, which reads nothing but files.
nlohmann::ordered_json study_index(const study::Study& study) {
  auto cells = nlohmann::ordered_json::array();
  for (const study::Cell& cell : study.cells)
    cells.push_back({{"name", cell.name},
                     {"hash", cell.hash},
                     {"group", cell.group},
                     {"is_baseline", cell.is_baseline},
                     {"settings", results::settings_json(cell.settings)}});
  return {{"study", study.name}, {"description", study.description}, {"file", study.file.string()}, {"cells", cells}};
}

std::vector<analysis::CellResult> in_order_of(const study::Study& study, std::vector<analysis::CellResult> results) {
  const auto place = [&](const analysis::CellResult& result) {
    return std::find_if(study.cells.begin(), study.cells.end(),
                        [&](const study::Cell& cell) { return cell.hash == result.cell.hash; });
  };
  std::stable_sort(results.begin(), results.end(),
                   [&](const analysis::CellResult& a, const analysis::CellResult& b) { return place(a) < place(b); });
  return results;
}

// Whether times can be trusted: before hours are spent on them, and when they are there. Nothing to watch in a study of
// recorded answers.
std::optional<runner::MachineWatch> watch_of(const study::Study& study) {
  const auto timed = std::find_if(study.cells.begin(), study.cells.end(), [](const study::Cell& cell) {
    return cell::model_type(cell.model.target) != "replay";
  });
  if (timed == study.cells.end()) return std::nullopt;
  return runner::MachineWatch(timed->run.threads.value_or(at::get_num_threads()));
}

void show_notes(const std::vector<std::string>& notes, runner::StudyProgress& progress) {
  for (const std::string& note : notes) progress.note("note: " + note);
}

struct StudyRun {
  const study::Study& study;
  const nlohmann::ordered_json& index;  // of the whole study, whatever part of it is run
  std::filesystem::path results;
  cell::ModelPool& pool;
  const std::optional<runner::DistributionRecording>& recording;
  bool fresh;
};

// Hands the results on while an interrupt is still only a flag, so that what was finished is shown.
template <class Show>
void run_cells(const StudyRun& run, const Show& show) {
  const auto& [study, index, results, pool, recording, fresh] = run;
  const std::filesystem::path folder = results / study.folder;
  results::refuse_link_out(folder, results);
  for (const study::Cell& cell : study.cells)
    results::refuse_link_out(results::cell_folder(results, study, cell), folder);
  analysis::Predictor predictor(study.overlap, study.file.parent_path(), pool);
  if (recording) runner::check_recordable(study);
  std::vector<int> prompts;
  for (const cell::CheckedCell& checked : cell::check_cells(study, pool)) prompts.push_back(checked.conversations);
  const results::StudyLock lock(folder);
  io::write_file(folder / "study.json", index.dump(2) + "\n");
  runner::StudyProgress progress;
  const std::optional<runner::MachineWatch> watch = watch_of(study);
  if (watch) show_notes(watch->notes_at_start(), progress);
  measurement::EnergyMeter energy;
  std::vector<analysis::CellResult> done;
  const util::InterruptGuard guard;
  for (const runner::GroupPlan& plan : runner::plan_groups(study.cells, prompts, progress)) {
    if (util::interrupted()) break;
    for (analysis::CellResult& result :
         runner::run_group(plan, {study, results, pool, predictor, progress, energy, recording, fresh}))
      done.push_back(std::move(result));
  }
  if (watch) show_notes(watch->notes_at_end(), progress);
  progress.close();
  show(in_order_of(study, std::move(done)));
  if (util::interrupted())
    throw util::Interrupted(fmt::format(
        "interrupted; the prompts that were finished are kept in {}, and the same command goes on from there",
        folder.string()));
}

void run_study(const RunOptions& options) {
  study::load_plugins(options.plugins);
  const std::optional<runner::DistributionRecording> recording =
      runner::distribution_recording(options.record, options.record_top_k);
  study::Study study = study::load_study(options.study, all_overrides(options));
  const nlohmann::ordered_json index = study_index(study);
  if (options.shard) study::keep_shard(study, study::parse_shard(*options.shard));
  const std::filesystem::path results = options.out;
  cell::ModelPool pool(results / ".models");
  if (options.dry_run) return util::print_out(runner::dry_run(study, results, pool));
  run_cells({study, index, results, pool, recording, options.fresh},
            [&](const std::vector<analysis::CellResult>& done) {
              print_results(study, done, results / study.folder, options.json);
              util::flush_out();
            });
}

}  // namespace

void run_study_file(const std::filesystem::path& file, const std::filesystem::path& results) {
  const study::Study study = study::load_study(file, {});
  cell::ModelPool pool(results / ".models");
  run_cells({study, study_index(study), results, pool, std::nullopt, false},
            [](const std::vector<analysis::CellResult>&) {});
}

void add_run_command(util::Command app) {
  auto options = std::make_shared<RunOptions>();
  util::Command command = app.add_command("run", "Run a study and print one table");
  command.add("study", options->study, "the study's YAML file", {.type = "STUDY.yaml", .required = true});
  command.add("--set", options->overrides,
              "override a value: a.b=c (repeatable); `drafter.` stands for `pipeline.drafter.`",
              {.type = "PATH=VALUE"});
  command.add("--limit", options->limit, "maximum number of prompts, from the first one on; 0: all (workload.limit)",
              {.type = "N", .min = 0});
  study::add_oversubscribe_flag(command, options->oversubscribe);
  study::add_plugin_option(command, options->plugins);
  study::add_trust_option(command);
  command.add("--out", options->out, "the folder of all results", {.type = "DIR", .show_default = true});
  command.add_flag("--dry-run", options->dry_run, "print the cells and about how long each takes, and run nothing");
  command.add("--shard", options->shard, "only the I-th of N parts of the study; `foretell merge` puts them together",
              {.type = "I/N"});
  command.add_flag("--fresh", options->fresh,
                   "throw away what an earlier run of this study has left, instead of going on from there");
  command.add("--record", options->record,
              "probs: the target's most probable tokens along every answer of the method, into the cell's folder; "
              "{type: replay, probs: ...} "
              "decodes from them without the model (docs/guide/replay.md)",
              {.type = "WHAT"});
  command.add("--record-top-k", options->record_top_k, "tokens stored of each distribution (64)", {.type = "N"});
  command.add_flag("--json", options->json, "end with the results as one JSON object");
  command.run([options] { run_study(*options); });
}

}  // namespace foretell::cli::commands::studies
