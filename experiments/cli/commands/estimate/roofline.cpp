#include "experiments/analysis/roofline.h"

#include <nlohmann/json.hpp>

#include "experiments/cli/commands/estimate/commands.h"
#include "experiments/cli/commands/estimate/ranges.h"
#include "experiments/report/roofline_plot.h"
#include "experiments/util/console.h"
#include "experiments/util/number_list.h"
#include "framework/core/error.h"

namespace foretell::cli::commands::estimate {
namespace {

struct RooflineCommand {
  std::string model, hardware, devices = "configs/hardware", rules = "foretell";
  analysis::RooflineOptions roofline;
  std::optional<int> cache_bits;
  std::optional<std::string> tree;
  std::vector<std::string> without;
  std::optional<std::string> svg;
  bool json = false;
};

std::string quirks_text() {
  std::string text = "LLM-Viewer's rules that --without NAME replaces by what a device does:\n";
  for (const auto& quirk : cost::operators::llm_viewer_quirks())
    text += fmt::format("  {:<27} {}\n", quirk.name, quirk.doc);
  return text;
}

void switch_off(const std::string& name, cost::operators::LlmViewerQuirks& quirks) {
  std::vector<std::string> known;
  for (const auto& quirk : cost::operators::llm_viewer_quirks()) {
    if (quirk.name == name || name == "all") quirks.*quirk.field = false;
    known.emplace_back(quirk.name);
  }
  known.emplace_back("all");
  if (std::find(known.begin(), known.end(), name) == known.end())
    throw Error(unknown_name_message("rule", name, known));
}

std::vector<int> tree_of(const std::string& text, int rows) {
  if (rows != 1) fail("--tree and --rows: a step has one of them");
  return util::parse_tree(text, "--tree");
}

nlohmann::ordered_json described_command(const RooflineCommand& options) {
  const analysis::RooflineOptions& of = options.roofline;
  nlohmann::ordered_json json{{"model", options.model},
                              {"hardware", options.hardware},
                              {"rules", options.rules},
                              {"batchsize", of.batch},
                              {"seqlen", of.tokens},
                              {"w_bit", of.precision.weights},
                              {"a_bit", of.precision.activations},
                              {"kv_bit", of.precision.cache},
                              {"use_flashattention", of.fused}};
  if (of.output) {
    json["prompt_len"] = *of.prompt;
    json["gen_len"] = *of.output;
  }
  return json;
}

// Of a step.
report::RooflineChart chart_of(const RooflineCommand& options, const cost::operators::Hardware& hardware,
                               const cost::operators::ForwardOperators& step) {
  const auto& precision = options.roofline.precision;
  report::RooflineChart chart{
      .hardware = hardware,
      .bits = std::max(precision.weights, precision.activations),
      .bandwidth = options.roofline.llm_viewer
                       ? hardware.bandwidth
                       : hardware.bandwidth_over(step.total.load_weight + step.total.load_kv_cache),
      .title = fmt::format("{} on {}: a step behind {} tokens, batch {}",
                           std::filesystem::path(options.model).stem().string(), hardware.name, options.roofline.tokens,
                           options.roofline.batch),
      .points = {}};
  for (const cost::operators::OperatorCost& cost : step.operators)
    chart.points.push_back({cost.work.name, cost.intensity, cost.performance});
  return chart;
}

void show_roofline(RooflineCommand& options) {
  analysis::RooflineOptions& of = options.roofline;
  of.llm_viewer = options.rules == "llm-viewer";
  of.precision.cache = options.cache_bits.value_or(of.precision.activations);
  if (options.tree) of.tree = tree_of(*options.tree, of.rows);
  if (!options.without.empty() && !of.llm_viewer) fail("--without: only --rules llm-viewer has rules to go without");
  for (const std::string& name : options.without) switch_off(name, of.quirks);
  const auto hardware = cost::operators::load_hardware(options.hardware, options.devices);
  const auto roofline = analysis::roofline_of(analysis::load_described_model(options.model), hardware, of);
  if (options.svg) report::draw_roofline(chart_of(options, hardware, roofline.decode), *options.svg);
  if (!options.json) return util::print_out(analysis::to_text(roofline, hardware, of));
  nlohmann::ordered_json json = described_command(options);
  json.update(analysis::to_json(roofline));
  util::print_json(json, 2);
}

}  // namespace

void add_roofline_command(util::Command app) {
  auto options = std::make_shared<RooflineCommand>();
  analysis::RooflineOptions& of = options->roofline;
  util::Command command =
      app.add_command("roofline", "What a prompt and a step should cost on a device, operator by operator");
  command.add("--model", options->model, "a model's folder, or a config.json", {.type = "DIR", .required = true});
  command.add("--hardware", options->hardware, "one of configs/hardware, or a YAML file",
              {.type = "NAME", .required = true});
  command.add("--devices", options->devices, "the folder of devices", {.type = "DIR", .show_default = true});
  command.add("--batch", of.batch, "sequences", {.type = "N", .show_default = true, .min = 1, .max = kMostSequences});
  command.add("--seq", of.tokens, "tokens of each: of the prompt, and in the KV cache of a step",
              {.type = "N", .show_default = true, .min = 1, .max = kMostTokens});
  command.add("--w-bits", of.precision.weights, "of a weight: 32, 16, 8 or 4", {.type = "N", .show_default = true});
  command.add("--a-bits", of.precision.activations, "of an activation", {.type = "N", .show_default = true});
  command.add("--kv-bits", options->cache_bits, "of a number in the KV cache; without it those of an activation",
              {.type = "N"});
  command.add_flag("--flash", of.fused, "attention as one kernel that keeps scores on the chip (FlashAttention)");
  command.add("--rows", of.rows, "new tokens of each sequence in a step: 1 and the draft tokens",
              {.type = "N", .show_default = true, .min = 1, .max = kMostDraftTokens});
  command.add("--tree", options->tree, "instead of --rows, the nodes of a draft tree by depth, the first one 1",
              {.type = "N,N,..."});
  command.add("--exit-layer", of.exit_layer, "the first layers only, with the head behind them",
              {.type = "N", .min = 1, .max = kMostLayers});
  command.add_flag("--expanded-cache", of.expanded_cache,
                   "latent attention caches keys and values of every head, as Foretell runs it");
  command.add("--prompt", of.prompt, "with --output: the time of a whole answer behind so many tokens",
              {.type = "N", .min = 1, .max = kMostTokens});
  command.add("--output", of.output, "tokens of the answer", {.type = "N", .min = 1, .max = kMostAnswer});
  command.add("--rules", options->rules, "foretell or llm-viewer",
              {.type = "RULES", .show_default = true, .choices = {"foretell", "llm-viewer"}});
  command.add("--without", options->without, "one of LLM-Viewer's rules below, or all of them", {.type = "NAME"});
  command.add("--svg", options->svg, "a log-log chart of a step's operators, drawn by gnuplot: .svg or .png",
              {.type = "FILE"});
  command.add_flag("--json", options->json, "as one JSON object with LLM-Viewer's field names");
  command.footer(quirks_text);
  command.run([options] { show_roofline(*options); });
}

}  // namespace foretell::cli::commands::estimate
