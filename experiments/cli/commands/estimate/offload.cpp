#include "experiments/analysis/offload.h"

#include <nlohmann/json.hpp>

#include "experiments/cli/commands/estimate/commands.h"
#include "experiments/report/study_folder.h"
#include "experiments/results/record_reader.h"
#include "experiments/util/console.h"
#include "experiments/util/number_list.h"
#include "framework/core/error.h"
#include "framework/core/printable.h"

namespace foretell::cli::commands::estimate {
namespace {

struct OffloadOptions {
  std::string input, rows = "1,2,4,8";
  std::optional<std::string> rooms;
  std::optional<int> experts;
  int warm_up_run = 32;
  std::optional<double> expert_mb, bandwidth_gbs;
  bool json = false;
  analysis::OffloadQuestion question;
};

analysis::OffloadQuestion question_of(const OffloadOptions& options) {
  analysis::OffloadQuestion question = options.question;
  if (options.rooms) question.rooms = util::parse_positive_list(*options.rooms, "--room", moe::kMostLogExperts);
  question.rows = util::parse_positive_list(options.rows, "--rows", 4096);
  if (options.expert_mb) question.expert_bytes = *options.expert_mb * 1e6;
  if (options.bandwidth_gbs) question.bandwidth = *options.bandwidth_gbs * 1e9;
  if (question.bandwidth && !question.expert_bytes) fail("--bandwidth: expected --expert-mb beside it");
  return question;
}

void offload_log(const OffloadOptions& options) {
  const analysis::OffloadQuestion question = question_of(options);
  const moe::RouterLog log =
      moe::read_router_log(options.input, {.experts = options.experts, .warm_up_run = options.warm_up_run});
  const std::vector<analysis::OffloadRow> rows = analysis::offload_of(log, question);
  if (options.json) {
    nlohmann::ordered_json json = analysis::router_log_json(log);
    json["cache"] = analysis::offload_json(rows, question);
    util::print_out(json.dump(2, ' ', true) + "\n");
    return;
  }
  util::print_out(
      fmt::format("{}: {} rows of {} experts{}, {} warm-up rows left out\n\n{}\nA memory with room for some experts of "
                  "each layer:\n\n{}",
                  log.model.empty() ? "a model" : util::one_line(printable(log.model)), log.rows(), log.experts,
                  log.experts_known ? "" : " (the highest that occurs; --experts says how many there are)", log.warm_up,
                  analysis::router_log_table(log), analysis::offload_table(rows, question)));
}

void offload_study(const OffloadOptions& options) {
  const analysis::OffloadQuestion question = question_of(options);
  if (question.prefetch > 0) fail("--prefetch: records do not say which experts a draft used; expected a routing log");
  auto all = nlohmann::ordered_json::array();
  for (const results::IndexedCell& cell : results::read_study_index(options.input).cells) {
    const std::filesystem::path folder = std::filesystem::path(options.input) / cell.hash;
    if (!std::filesystem::exists(folder)) continue;
    const std::vector<results::GenerationRecord> records = results::undamaged_records(folder);
    const std::vector<analysis::OffloadRow> rows = analysis::offload_of(records, question);
    if (options.json)
      all.push_back({{"cell", cell.name}, {"cache", analysis::offload_json(rows, question)}});
    else
      util::print_out(util::one_line(printable(cell.name)) + "\n" + analysis::offload_table(rows, question) + "\n");
  }
  if (options.json) util::print_out(all.dump(2, ' ', true) + "\n");
}

void add_options(util::Command& command, OffloadOptions& options) {
  command.add("--room", options.rooms, "experts of each layer that memory holds; default: an eighth, a quarter, half",
              {.type = "LIST"});
  command.add("--expert-mb", options.expert_mb, "size of one expert in MB, for bytes",
              {.type = "MB", .min = 0, .max = 1e6});
  command.add("--bandwidth", options.bandwidth_gbs, "GB/s that experts are read with, for times",
              {.type = "GB/s", .min = 1e-6, .max = 1e6});
  command.add_flag("--json", options.json, "print all as JSON");
}

void add_log_options(util::Command& command, OffloadOptions& options) {
  command.add("--rows", options.rows, "tokens of a step", {.type = "LIST", .show_default = true});
  command.add("--prefetch", options.question.prefetch,
              "experts of each token that a draft with fewer experts names, read ahead",
              {.type = "N", .show_default = true, .min = 0, .max = moe::kMostLogExperts});
  command.add("--experts", options.experts, "experts of a layer, where the log does not say",
              {.type = "N", .min = 1, .max = moe::kMostLogExperts});
  command.add("--warm-up-run", options.warm_up_run,
              "rows of one routing that follow one another and are left out from so many on; 0: none",
              {.type = "N", .show_default = true, .min = 0, .max = moe::kMostLogRows});
}

}  // namespace

void add_offload_command(util::Command app) {
  auto options = std::make_shared<OffloadOptions>();
  util::Command command = app.add_command(
      "offload", "What experts outside of memory would cost: recorded routing through a cache of experts");
  command.add("input", options->input, "a study's folder (results/STUDY), or a routing log of vLLM",
              {.type = "PATH", .required = true});
  add_options(command, *options);
  add_log_options(command, *options);
  command.run(
      [options] { std::filesystem::is_directory(options->input) ? offload_study(*options) : offload_log(*options); });
}

void add_router_log_format(util::Command import) {
  auto options = std::make_shared<OffloadOptions>();
  util::Command command = import.add_command(
      "router-log", "a routing log of vLLM: load, locality and a cache of experts; nothing is written");
  command.add("file", options->input, "lines with topk_ids", {.type = "FILE", .required = true});
  add_options(command, *options);
  add_log_options(command, *options);
  command.run([options] { offload_log(*options); });
}

}  // namespace foretell::cli::commands::estimate
