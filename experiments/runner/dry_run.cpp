#include "experiments/runner/dry_run.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <map>

#include "experiments/cell/cell_setup.h"
#include "experiments/results/store.h"
#include "experiments/util/progress.h"
#include "experiments/util/table.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/kernels/worker_threads.h"
#include "framework/measurement/bench_model.h"

namespace foretell::runner {
namespace {

struct TokenTimes {
  double prefill_ns = 0, step_ns = 0;  // of one token
};

TokenTimes token_times(const model::LanguageModel& model) {
  const int context = model.config().context;
  const int many = std::clamp(context / 2, 1, 128);
  const auto times =
      measurement::forward_times_ms(model, {1, many}, {.context = std::min(64, context - many), .repeats = 3});
  const auto fastest = [](const std::vector<double>& of) { return *std::min_element(of.begin(), of.end()) * 1e6; };
  return {fastest(times[1]) / many, fastest(times[0])};
}

int requests_of(const cell::CellSetup& setup) {
  int requests = 0;
  for (const workload::Conversation& conversation : setup.workload.conversations)
    requests += static_cast<int>(conversation.turns.size());
  return requests;
}

// [s] of all its requests, once.
double pass_seconds(const cell::CellSetup& setup, const TokenTimes& times) {
  double ns = 0;
  for (const workload::Conversation& conversation : setup.workload.conversations) {
    // Of later turns the prompts are not known: each holds the first one and the answers before it.
    const auto first = static_cast<double>(setup.dialogue.prompt(conversation, 0, {}).size());
    for (std::size_t turn = 0; turn < conversation.turns.size(); ++turn) {
      const double prompt = first + static_cast<double>(turn) * (first + setup.workload.max_new_tokens);
      ns += prompt * times.prefill_ns + setup.workload.max_new_tokens * times.step_ns;
    }
  }
  return ns * 1e-9;
}

// Requests of the method that are on disk.
int done_of(const std::filesystem::path& folder) {
  const auto records = results::read_records(folder).records;
  return static_cast<int>(std::count_if(records.begin(), records.end(), [](const auto& record) {
    return record.arm == results::PipelineVariant::Method;
  }));
}

}  // namespace

std::string dry_run(const study::Study& study, const std::filesystem::path& results, cell::ModelPool& pool) {
  std::map<std::string, TokenTimes> measured;
  std::map<std::string, int> groups;
  util::Table table({"group", "<cell", "requests", "repeats", "on disk", "at most", "<folder"});
  double total = 0;
  for (const study::Cell& cell : study.cells) {
    const cell::CellSetup setup =
        cell::set_up_cell(cell, study.file.parent_path(), pool, {.costs = cell::Costs::Assumed});
    kernels::use_threads(cell.run.threads);
    const auto [group, first] = groups.try_emplace(cell.group, static_cast<int>(groups.size()) + 1);
    const int runs = requests_of(setup) * cell.run.repeats;
    const int done = std::min(runs, done_of(results::cell_folder(results, study, cell)));
    std::string time = "-";
    if (setup.timed()) {
      const auto [times, fresh] = measured.try_emplace(
          fmt::format("{}|{}|{}|{}|{}", setup.target_folder.string(), cell.model.dtype.value_or(""),
                      cell.model.kv_dtype.value_or(""), cell.model.device, at::get_num_threads()));
      if (fresh) times->second = token_times(*setup.model);
      const double pass = pass_seconds(setup, times->second);
      const double left = pass * cell.run.repeats * (1 - static_cast<double>(done) / runs);
      const double seconds =
          left + (left > 0 ? pass * cell.run.warmup / static_cast<double>(setup.workload.conversations.size()) : 0);
      const bool baseline = first && cell.baseline;  // it runs once for all cells of the group
      total += seconds * (baseline ? 2 : 1);
      time = util::clock_time(seconds) + (baseline ? " + " + util::clock_time(seconds) : "");
    }
    table.add({std::to_string(group->second), cell.name, std::to_string(runs / cell.run.repeats),
               std::to_string(cell.run.repeats), std::to_string(done), time,
               results::cell_folder(results, study, cell).string()});
    pool.forget_unused();
  }
  return table.to_string() + fmt::format("\n{} in {}; at most {}, if no answer ends early and nothing is gained\n",
                                         counted(study.cells.size(), "cell"), counted(groups.size(), "group"),
                                         util::clock_time(total));
}

}  // namespace foretell::runner
