#include <ATen/Parallel.h>

#include <nlohmann/json.hpp>

#include "experiments/cell/model_pool.h"
#include "experiments/cli/commands/bench/bench.h"
#include "experiments/cli/commands/bench/commands.h"
#include "experiments/study/plugins.h"
#include "experiments/study/thread_options.h"
#include "experiments/util/console.h"
#include "experiments/util/number_list.h"
#include "experiments/util/table.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/io/file_bytes.h"
#include "framework/measurement/bench_drafter.h"
#include "framework/measurement/bench_model.h"
#include "framework/measurement/bench_verify.h"
#include "framework/tokenizers/tokenizer.h"

namespace foretell::cli::commands::bench {
namespace {

struct BenchOptions {
  std::string model, rows = "1,2,4,8,16,32,64", device = "cpu";
  std::optional<std::string> dtype, kv_dtype, text;
  int context = 128, repeats = 11, batch = 1;
  study::ThreadOptions threads;
  bool json = false;
};

// What the machine did to the times of a bench that has ended.
std::vector<std::string> notes_of(const runner::MachineWatch& watch) {
  std::vector<std::string> notes = watch.notes_at_start();
  for (const std::string& note : watch.notes_at_end()) notes.push_back(note);
  return notes;
}

nlohmann::ordered_json to_json(const measurement::RoundingError& error) {
  const auto number = [](const std::optional<double>& value) {
    return value ? nlohmann::ordered_json(*value) : nullptr;
  };
  return {{"rows", error.rows},
          {"random_text", error.random_text},
          {"perplexity", number(error.perplexity)},
          {"exact_perplexity", number(error.exact_perplexity)},
          {"mean", error.mean},
          {"largest", error.largest},
          {"spread", error.spread},
          {"same_top", error.same_top},
          {"kl", error.kl}};
}

void print_rounding(const std::string& what, const measurement::RoundingError& error) {
  util::print_out(
      fmt::format("logits of {}: {:.3g} off in the mean, {:.3g} at most, where logits spread by {:.3g}; KL divergence "
                  "{:.2g} nats; the same first token in {:.0f}% of {} of {}\n",
                  what, error.mean, error.largest, error.spread, error.kl, 100 * error.same_top,
                  counted(error.rows, "row"), error.random_text ? "random text" : "the text"));
  if (error.perplexity)
    util::print_out(fmt::format("perplexity {:.3f}, {:.3f} without ({:+.2f}%)\n", *error.perplexity,
                                *error.exact_perplexity, 100 * (*error.perplexity / *error.exact_perplexity - 1)));
}

nlohmann::ordered_json to_json(const measurement::BenchModelReport& report) {
  auto rows = nlohmann::ordered_json::array();
  for (const measurement::BenchModelRow& row : report.rows)
    rows.push_back({{"rows", row.rows}, {"median_ms", row.median_ms}, {"p90_ms", row.p90_ms}, {"gbs", row.gbs}});
  nlohmann::ordered_json json{{"read_bandwidth_gbs", report.read_bandwidth_gbs},
                              {"read_bytes", report.read_bytes},
                              {"rows", rows},
                              {"weight_bytes", report.weight_bytes},
                              {"dtype", report.dtype},
                              {"matrix_path", report.matrix_path},
                              {"threads", report.threads},
                              {"batch", report.batch},
                              {"notes", report.notes}};
  if (report.rounding) json["rounding"] = to_json(*report.rounding);
  if (report.cache_rounding) json["cache_rounding"] = to_json(*report.cache_rounding);
  return json;
}

void print_report(const measurement::BenchModelReport& report) {
  util::Table table({"rows", "ms (median)", "p90", "GB/s", "cost over 1 row", "of attainable"});
  for (const measurement::BenchModelRow& row : report.rows)
    table.add({std::to_string(row.rows), fmt::format("{:.2f}", row.median_ms), fmt::format("{:.2f}", row.p90_ms),
               fmt::format("{:.1f}", row.gbs), fmt::format("{:.2f}x", row.median_ms / report.rows.front().median_ms),
               fmt::format("{:.0f}%", 100 * row.gbs / report.read_bandwidth_gbs)});
  util::print_out(table.to_string());
  util::print_out(fmt::format("\n{}, {:.1f} MB of weights a forward, {}, {}, {:.1f} GB/s attainable over {:.1f} MB\n",
                              report.dtype, report.weight_bytes / 1e6, report.matrix_path,
                              counted(report.threads, "thread"), report.read_bandwidth_gbs, report.read_bytes / 1e6));
  if (report.rounding) print_rounding(report.dtype + " weights", *report.rounding);
  if (report.cache_rounding) print_rounding("an int8 KV cache", *report.cache_rounding);
  for (const std::string& note : report.notes) util::print_out(note + "\n");
}

void bench(const BenchOptions& options) {
  measurement::BenchModelOptions bench_options;
  bench_options.rows = util::parse_positive_list(options.rows, "--rows");
  bench_options.context = options.context;
  bench_options.repeats = options.repeats;
  bench_options.batch = options.batch;
  if (options.text)
    bench_options.text = tokenizers::load_tokenizer(options.model)->encode(io::read_file_bytes(*options.text));
  options.threads.apply();
  const runner::MachineWatch watch(at::get_num_threads());
  measurement::BenchModelReport report = measurement::bench_model(
      options.model, cell::load_options(options.dtype, options.device, options.kv_dtype), bench_options);
  for (const std::string& note : notes_of(watch)) report.notes.push_back(note);
  if (options.json)
    util::print_json(to_json(report), 2);
  else
    print_report(report);
}

struct VerifyOptions {
  std::string model, device = "cpu";
  std::optional<std::string> dtype, kv_dtype;
  study::ThreadOptions threads;
  std::vector<std::string> plugins;
  measurement::BenchVerifyOptions bench;
  bool json = false;
};

nlohmann::ordered_json to_json(const measurement::BenchVerifyReport& report) {
  const auto number = [](const std::optional<double>& ms) { return ms ? nlohmann::ordered_json(*ms) : nullptr; };
  auto rows = nlohmann::ordered_json::array();
  for (const measurement::BenchVerifyRow& row : report.rows)
    rows.push_back(
        {{"verifier", row.verifier}, {"greedy_ms", number(row.greedy_ms)}, {"sampled_ms", number(row.sampled_ms)}});
  return {{"forward_ms", report.forward_ms}, {"vocab", report.vocab}, {"depth", report.depth}, {"rows", rows}};
}

void print_report(const measurement::BenchVerifyReport& report, int nodes) {
  util::Table table({"<verifier", "T=0 ms", "of the forward", "T=1 ms", "of the forward"});
  for (const measurement::BenchVerifyRow& row : report.rows) {
    std::vector<std::string> cells = {row.verifier};
    for (const auto& ms : {row.greedy_ms, row.sampled_ms}) {
      cells.push_back(ms ? fmt::format("{:.3f}", *ms) : "-");
      cells.push_back(ms ? fmt::format("{:.2f}%", 100 * *ms / report.forward_ms) : "-");
    }
    table.add(cells);
  }
  util::print_out(table.to_string());
  util::print_out(
      fmt::format("\nA tree of {}, {} deep, over {}; the forward that scores it takes {:.1f} ms (medians, {})\n",
                  counted(nodes, "node"), report.depth, counted(report.vocab, "token"), report.forward_ms,
                  counted(at::get_num_threads(), "thread")));
  for (const measurement::BenchVerifyRow& row : report.rows)
    if (!row.reason.empty()) util::print_out(fmt::format("{}: {}\n", row.verifier, row.reason));
}

void bench_verification(const VerifyOptions& options) {
  study::load_plugins(options.plugins);
  options.threads.apply();
  const auto model = load_model(options.model, cell::load_options(options.dtype, options.device, options.kv_dtype));
  const runner::MachineWatch watch(at::get_num_threads());
  const measurement::BenchVerifyReport report = measurement::bench_verify(*model, options.bench);
  if (options.json)
    util::print_json(to_json(report), 2);
  else
    print_report(report, options.bench.nodes);
  show_notes(watch);
}

void add_bench_verify(util::Command parent) {
  auto options = std::make_shared<VerifyOptions>();
  util::Command verify = parent.add_command("verify", "what verifying a tree costs beside the forward that scores it");
  verify.add("--model", options->model, "the model's folder", {.type = "DIR", .required = true});
  verify.add("--verifier", options->bench.verifier, "a verifier, or all", {.type = "NAME", .show_default = true});
  study::add_plugin_option(verify, options->plugins);
  verify.add("--nodes", options->bench.nodes, "of the tree", {.type = "N", .show_default = true, .min = 1});
  verify.add("--context", options->bench.context, "tokens in the cache before",
             {.type = "N", .show_default = true, .min = 0});
  verify.add("--repeats", options->bench.repeats, "of the forward and of each verifier",
             {.type = "N", .show_default = true, .min = 1});
  verify.add("--dtype", options->dtype,
             "f32, bf16, f64, or int8 or int4 (weights); without it what the checkpoint says", {.type = "T"});
  verify.add("--kv-dtype", options->kv_dtype, "of keys and values: auto (as the model's) or int8", {.type = "T"});
  verify.add("--device", options->device, "cpu, cuda or cuda:N", {.type = "D", .show_default = true});
  options->threads.declare(verify);
  verify.add_flag("--json", options->json, "as JSON");
  verify.run([options] { bench_verification(*options); });
}

struct DrafterOptions {
  measurement::BenchDrafterOptions bench;
  bool json = false;
};

nlohmann::ordered_json to_json(const measurement::BenchDrafterReport& report,
                               const measurement::BenchDrafterOptions& options) {
  auto rows = nlohmann::ordered_json::array();
  for (const measurement::BenchDrafterRow& row : report.rows) {
    if (!row.reason.empty()) {
      rows.push_back({{"drafter", row.drafter}, {"not_measured", row.reason}});
      continue;
    }
    rows.push_back({{"drafter", row.drafter},
                    {"round_us", row.round_us},
                    {"draft_us", row.draft_us},
                    {"observe_us", row.observe_us},
                    {"first_us", row.first_us},
                    {"drafted", row.drafted},
                    {"emitted", row.emitted},
                    {"rounds", row.rounds},
                    {"bytes", row.bytes ? nlohmann::ordered_json(*row.bytes) : nullptr}});
  }
  return {{"context", options.context},
          {"tokens", options.tokens},
          {"repeats", options.repeats},
          {"vocab", report.vocab},
          {"rows", rows}};
}

void print_report(const measurement::BenchDrafterReport& report, const measurement::BenchDrafterOptions& options) {
  util::Table table(
      {"<drafter", "us a round", "draft", "observe", "to the first", "drafted", "emitted", "rounds", "MB"});
  for (const measurement::BenchDrafterRow& row : report.rows) {
    if (!row.reason.empty()) continue;
    table.add({row.drafter, fmt::format("{:.1f}", row.round_us), fmt::format("{:.1f}", row.draft_us),
               fmt::format("{:.1f}", row.observe_us), fmt::format("{:.0f}", row.first_us),
               fmt::format("{:.1f}", row.drafted), fmt::format("{:.2f}", row.emitted), std::to_string(row.rounds),
               row.bytes ? fmt::format("{:.1f}", *row.bytes / 1e6) : "-"});
  }
  util::print_out(table.to_string());
  util::print_out(
      fmt::format("\n{} of {} {} prompts of {}, {}; times are medians, drafted and emitted are means of a round\n",
                  counted(options.repeats, "request"), counted(options.tokens, "token"),
                  options.file ? "behind" : "(made up) behind", options.context, counted(report.vocab, "id")));
  for (const measurement::BenchDrafterRow& row : report.rows)
    if (!row.reason.empty()) util::print_out(fmt::format("{}: not measured: {}\n", row.drafter, row.reason));
}

void bench_drafters(const DrafterOptions& options) {
  const runner::MachineWatch watch(1);
  const measurement::BenchDrafterReport report = measurement::bench_drafter(options.bench);
  if (options.json)
    util::print_json(to_json(report, options.bench), 2);
  else
    print_report(report, options.bench);
  show_notes(watch);
}

void add_bench_drafter(util::Command parent) {
  auto options = std::make_shared<DrafterOptions>();
  measurement::BenchDrafterOptions& bench = options->bench;
  util::Command drafter = parent.add_command("drafter", "what drafting without a model costs a round");
  drafter.add("--drafter", bench.drafter, "a drafter, \"{type: NAME, key: value}\", or all that need no model",
              {.type = "NAME", .show_default = true});
  drafter.add("--context", bench.context, "tokens of the prompt", {.type = "N", .show_default = true, .min = 1});
  drafter.add("--tokens", bench.tokens, "decoded behind it", {.type = "N", .show_default = true, .min = 2});
  drafter.add("--repeats", bench.repeats, "requests, each with another text",
              {.type = "N", .show_default = true, .min = 1});
  drafter.add("--file", bench.file, "a text, or answer rows (.jsonl), instead of made-up tokens; with --tokenizer",
              {.type = "FILE"});
  drafter.add("--tokenizer", bench.tokenizer, "a model's folder, or a tokenizer file", {.type = "DIR"});
  drafter.add_flag("--json", options->json, "as JSON");
  drafter.run([options] { bench_drafters(*options); });
}

}  // namespace

void show_notes(const runner::MachineWatch& watch) {
  for (const std::string& note : notes_of(watch)) util::print_error("note: " + note + "\n");
}

void add_bench_command(util::Command app) {
  auto options = std::make_shared<BenchOptions>();
  util::Command command = app.add_command("bench", "Measure a part on its own");
  command.require_command();
  util::Command model = command.add_command("model", "what a forward of 1, 2, 4 ... rows costs");
  model.add("--model", options->model, "the model's folder", {.type = "DIR", .required = true});
  model.add("--rows", options->rows, "row counts", {.type = "N,N,...", .show_default = true});
  model.add("--context", options->context, "tokens in the cache before", {.type = "N", .show_default = true, .min = 0});
  model.add("--batch", options->batch, "sequences, each with so many rows and its own context",
            {.type = "N", .show_default = true, .min = 1});
  model.add("--repeats", options->repeats, "of each row count", {.type = "N", .show_default = true, .min = 1});
  model.add("--dtype", options->dtype, "f32, bf16, f64, or int8 or int4 (weights); without it what the checkpoint says",
            {.type = "T"});
  model.add("--kv-dtype", options->kv_dtype, "of keys and values: auto (as the model's) or int8", {.type = "T"});
  model.add("--text", options->text, "a text on which int8 and int4 weights are compared with the checkpoint's",
            {.type = "FILE"});
  model.add("--device", options->device, "cpu, cuda or cuda:N", {.type = "D", .show_default = true});
  options->threads.declare(model);
  model.add_flag("--json", options->json, "as JSON");
  model.run([options] { bench(*options); });
  add_bench_verify(command);
  add_bench_drafter(command);
  add_bench_machine(command);
}

}  // namespace foretell::cli::commands::bench
