#include "experiments/analysis/simulation.h"

#include <nlohmann/json.hpp>

#include "experiments/analysis/roofline.h"
#include "experiments/cli/commands/estimate/commands.h"
#include "experiments/cli/commands/estimate/ranges.h"
#include "experiments/util/console.h"
#include "experiments/util/number_list.h"
#include "framework/core/error.h"
#include "framework/core/text.h"

namespace foretell::cli::commands::estimate {
namespace {

using cost::operators::DraftSource;

// vLLM's n-gram drafter as SpecDecode-Bench ran it.
constexpr const char* kRecordedLookup =
    "{type: prompt_lookup, prompt_lookup_min: 3, prompt_lookup_max: 7, num_speculative_tokens: 20, "
    "whole_continuation: false}";
constexpr const char* kLookupArm = "ngram";

struct SimulateOptions {
  std::string runs, devices = "configs/hardware", fixed = "1,2,3,4,5,8,12,16,20", lookup = kRecordedLookup;
  std::optional<std::string> arm, model, hardware, draft_model;
  std::optional<double> cost_ratio;
  std::optional<int> depth, limit;
  std::vector<std::string> policies;
  bool drafting_layer = false, json = false;
};

double mean_context(const std::vector<datasets::AcceptRun>& runs) {
  double tokens = 0;
  for (const datasets::AcceptRun& run : runs)
    tokens += static_cast<double>(run.prompt.size()) + static_cast<double>(run.generated.size()) / 2;
  return std::round(tokens / static_cast<double>(runs.size()));
}

DraftSource source_of(const SimulateOptions& options, const std::string& arm) {
  DraftSource source;
  if (options.draft_model) {
    source.kind = DraftSource::Kind::Model;
    source.model = analysis::load_described_model(*options.draft_model);
  } else if (options.drafting_layer || arm.starts_with("eagle")) {
    source.kind = DraftSource::Kind::Layer;
  }
  return source;
}

void check_costs(const SimulateOptions& options) {
  const bool described = options.model && options.hardware;
  if (options.cost_ratio.has_value() == described || (!described && (options.model || options.hardware)))
    fail("expected either --cost-ratio, or both --model and --hardware");
  if (options.cost_ratio && (options.draft_model || options.drafting_layer))
    fail("--draft-model and --drafting-layer: --cost-ratio says already what a draft token costs");
  if (options.draft_model && options.drafting_layer) fail("--draft-model and --drafting-layer: one of them drafts");
}

std::shared_ptr<const cost::RowCosts> costs_of(const SimulateOptions& options, const std::string& arm, int depth,
                                               double context) {
  if (options.cost_ratio) return analysis::ratio_costs(*options.cost_ratio);
  return analysis::roofline_costs(analysis::load_described_model(*options.model),
                                  cost::operators::load_hardware(*options.hardware, options.devices),
                                  source_of(options, arm), {.context = context, .fused = true}, depth);
}

std::vector<analysis::PolicyChoice> policies_of(const SimulateOptions& options, int depth) {
  std::vector<analysis::PolicyChoice> policies;
  for (const std::string& text : options.policies) policies.push_back({.description = parse_yaml(text, "--policy")});
  if (!policies.empty()) return policies;
  std::vector<int> fixed;
  for (const int length : util::parse_positive_list(options.fixed, "--fixed", kMostDraftTokens))
    if (length <= depth) fixed.push_back(length);
  return analysis::all_length_policies(fixed);
}

std::vector<std::string> chosen_arms(const SimulateOptions& options, const std::vector<datasets::AcceptRun>& runs) {
  std::vector<std::string> arms = analysis::arms_of(runs);
  if (arms.empty()) fail("{}: no position of any arm was recorded", options.runs);
  if (!options.arm) return arms;
  if (std::find(arms.begin(), arms.end(), *options.arm) == arms.end())
    fail("--arm: {}", unknown_name_message("arm", *options.arm, arms));
  return {*options.arm};
}

int depth_of(const SimulateOptions& options, const std::vector<datasets::AcceptRun>& runs, const std::string& arm) {
  const int longest = analysis::longest_draft(runs, arm);
  if (options.depth && *options.depth > longest)
    fail("--draft-tokens: {}, but the longest recorded draft of {} that was accepted has {}", *options.depth, arm,
         longest);
  return options.depth.value_or(longest);
}

std::optional<analysis::LookupAgreement> agreement_of(const SimulateOptions& options,
                                                      const std::vector<datasets::AcceptRun>& runs,
                                                      const std::string& arm) {
  if (arm != kLookupArm || options.lookup == "none") return std::nullopt;
  return analysis::lookup_agreement(runs, arm, parse_yaml(options.lookup, "--lookup"));
}

nlohmann::ordered_json to_json(const analysis::LookupAgreement& agreement, const std::string& drafter) {
  return {{"drafter", drafter},
          {"positions", agreement.positions},
          {"equal", agreement.equal},
          {"share", agreement.share()},
          {"prompts", agreement.prompts},
          {"equal_prompts", agreement.equal_prompts},
          {"other_generations", agreement.other_generations}};
}

std::string to_text(const analysis::LookupAgreement& agreement, const std::string& drafter) {
  return fmt::format("{}\ngives the recorded length at {:.2f}% of {} positions, at all of them in {} of {}\n", drafter,
                     100 * agreement.share(), agreement.positions, agreement.equal_prompts,
                     counted(agreement.prompts, "prompt"));
}

void show_simulation(const SimulateOptions& options) {
  check_costs(options);
  std::vector<datasets::AcceptRun> runs = datasets::read_accept_runs(options.runs);
  if (options.limit) runs.resize(std::min(runs.size(), static_cast<std::size_t>(*options.limit)));
  const double context = mean_context(runs);
  nlohmann::ordered_json json{
      {"runs", options.runs},
      {"mean_context", context},
      {"cost_ratio", options.cost_ratio ? nlohmann::ordered_json(*options.cost_ratio) : nullptr},
      {"hardware", options.hardware ? nlohmann::ordered_json(*options.hardware) : nullptr},
      {"arms", nlohmann::ordered_json::array()}};
  for (const std::string& arm : chosen_arms(options, runs)) {
    const int depth = depth_of(options, runs, arm);
    const analysis::Simulation simulation =
        analysis::simulate(runs, arm, depth, costs_of(options, arm, depth, context), policies_of(options, depth));
    const auto agreement = agreement_of(options, runs, arm);
    if (options.json) {
      json["arms"].push_back(analysis::to_json(simulation));
      if (agreement) json["arms"].back()["lookup"] = to_json(*agreement, options.lookup);
      continue;
    }
    util::print_out(analysis::to_text(simulation));
    util::print_out((agreement ? to_text(*agreement, options.lookup) : "") + "\n");
  }
  if (options.json) util::print_json(json, 2);
}

}  // namespace

void add_simulate_command(util::Command app) {
  auto options = std::make_shared<SimulateOptions>();
  util::Command command = app.add_command(
      "simulate", "Every length policy over a recorded run that has an accept length for every position");
  command.add("runs", options->runs, "a file of such runs (acc_NAME: {acc_len: [...]}), or a folder of them",
              {.type = "PATH", .required = true});
  command.add("--cost-ratio", options->cost_ratio,
              "a draft token in plain steps; verification then costs one, whatever its rows",
              {.type = "X", .min = 0, .max = 1000});
  command.add("--model", options->model, "instead, with --hardware: the target's folder, or a config.json",
              {.type = "DIR"});
  command.add("--hardware", options->hardware, "one of configs/hardware, or a YAML file; costs as `predict` has them",
              {.type = "NAME"});
  command.add("--devices", options->devices, "the folder of devices", {.type = "DIR", .show_default = true});
  command.add("--draft-model", options->draft_model, "a model drafts", {.type = "DIR"});
  command.add_flag("--drafting-layer", options->drafting_layer,
                   "a layer such as the target's last one drafts; without it that of arms named eagle..., and a lookup "
                   "of others");
  command.add("--arm", options->arm, "one way of drafting; without it all of the runs", {.type = "NAME"});
  command.add("--draft-tokens", options->depth, "most of a draft; without it the longest that was accepted",
              {.type = "N", .min = 1, .max = kMostDraftTokens});
  command.add("--fixed", options->fixed, "fixed lengths beside the policies",
              {.type = "N,N,...", .show_default = true});
  command.add("--policy", options->policies, "these alone: '{type: ucb, exploration: 2}'", {.type = "POLICY"});
  command.add("--lookup", options->lookup, "a drafter that is compared with the arm ngram; none: not",
              {.type = "DRAFTER"});
  command.add("--limit", options->limit, "the first runs only", {.type = "N", .min = 1, .max = kMostTokens});
  command.add_flag("--json", options->json, "as one JSON object");
  command.run([options] { show_simulation(*options); });
}

}  // namespace foretell::cli::commands::estimate
