#include "experiments/analysis/overlap.h"

#include <nlohmann/json.hpp>

#include <array>

#include "experiments/cell/model_pool.h"
#include "experiments/cli/commands/models/commands.h"
#include "experiments/study/thread_options.h"
#include "experiments/util/console.h"
#include "framework/core/error.h"
#include "framework/core/text.h"

namespace foretell::cli::commands::models {
namespace {

constexpr std::array<int, 5> kDepths = {1, 2, 4, 8, 16};

struct OverlapOptions {
  std::string model, draft_model, text, device = "cpu";
  std::optional<std::string> dtype, kv_dtype;
  study::ThreadOptions threads;
  double temperature = 1.0;
  int windows = 12, window_tokens = 256;
  bool json = false;
};

void print_text(const OverlapOptions& options, const analysis::OverlapReport& report) {
  util::print_out(fmt::format("{}, {} of {} spread evenly over {}\n", counted(report.positions, "position"),
                              counted(options.windows, "window"), counted(options.window_tokens, "token"),
                              options.text));
  util::print_out(fmt::format("argmax agreement                     {:.4f}\n", report.argmax_agreement));
  util::print_out(
      fmt::format("expected acceptance, temperature {:<4}{:.4f}\n", options.temperature, report.expected_acceptance));
  util::print_out(fmt::format("perplexity of a token                {:.3f} target, {:.3f} draft\n",
                              report.target_perplexity, report.draft_perplexity));
  util::print_out("predicted mean acceptance length     ");
  for (const int depth : kDepths)
    util::print_out(fmt::format("{:.3f} ({} drafted){}",
                                analysis::predicted_acceptance_length(report.expected_acceptance, depth), depth,
                                depth == kDepths.back() ? "\n" : ", "));
}

nlohmann::ordered_json to_json(const OverlapOptions& options, const analysis::OverlapReport& report) {
  auto lengths = nlohmann::ordered_json::object();
  for (const int depth : kDepths)
    lengths[std::to_string(depth)] = analysis::predicted_acceptance_length(report.expected_acceptance, depth);
  return {{"positions", report.positions},
          {"temperature", options.temperature},
          {"argmax_agreement", report.argmax_agreement},
          {"expected_acceptance", report.expected_acceptance},
          {"target_perplexity", report.target_perplexity},
          {"draft_perplexity", report.draft_perplexity},
          {"predicted_mean_acceptance_length", lengths}};
}

void run_overlap(const OverlapOptions& options) {
  options.threads.apply();
  cell::ModelPool pool("");
  const auto tokenizer = pool.tokenizer(options.model);
  if (!tokenizer) fail("{}: has no tokenizer, which the text needs", options.model);
  const auto passages = analysis::cut_passages(options.text, *tokenizer, options.windows, options.window_tokens);
  const model::ModelLoadOptions load = cell::load_options(options.dtype, options.device, options.kv_dtype);
  const auto target = pool.model(options.model, load),
             draft = pool.draft_model(*target, tokenizer.get(), options.draft_model, load);
  cell::check_vocabulary(*target, tokenizer.get(), options.model);
  SamplingOptions sampling;
  sampling.temperature = options.temperature;
  const analysis::OverlapReport report = analysis::measure_overlap(*target, *draft, passages, sampling);
  options.json ? util::print_json(to_json(options, report)) : print_text(options, report);
}

}  // namespace

void add_overlap_command(util::Command app) {
  auto options = std::make_shared<OverlapOptions>();
  util::Command command =
      app.add_command("overlap", "How far a draft model agrees with its target on a text, and what that predicts");
  command.add("--model", options->model, "the target model's folder", {.type = "DIR", .required = true});
  command.add("--draft-model", options->draft_model, "the draft model's folder", {.type = "DIR", .required = true});
  command.add("--text", options->text, "a text file", {.type = "FILE", .required = true});
  command.add("--windows", options->windows, "passages, spread evenly over the text",
              {.type = "N", .show_default = true, .min = 1});
  command.add("--window-tokens", options->window_tokens, "tokens of each",
              {.type = "N", .show_default = true, .min = 2});
  command.add("--temperature", options->temperature, "of both models; 0 is greedy",
              {.type = "T", .show_default = true, .min = 0});
  command.add("--dtype", options->dtype,
              "f32, bf16, f64, or int8 or int4 (weights); without it what the checkpoints say", {.type = "T"});
  command.add("--kv-dtype", options->kv_dtype, "of keys and values: auto (as the models') or int8", {.type = "T"});
  command.add("--device", options->device, "cpu, cuda or cuda:N", {.type = "D", .show_default = true});
  options->threads.declare(command);
  command.add_flag("--json", options->json, "as one JSON object");
  command.run([options] { run_overlap(*options); });
}

}  // namespace foretell::cli::commands::models
