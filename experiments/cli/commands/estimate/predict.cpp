#include <nlohmann/json.hpp>

#include "experiments/analysis/roofline.h"
#include "experiments/cli/commands/estimate/commands.h"
#include "experiments/cli/commands/estimate/ranges.h"
#include "experiments/util/console.h"
#include "experiments/util/number_list.h"
#include "experiments/util/table.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/cost/operators/speculation.h"

namespace foretell::cli::commands::estimate {
namespace {

using cost::operators::DraftSource;
using cost::operators::Expectation;
using cost::operators::SpeculationCase;

struct PredictOptions {
  std::string model, hardware, devices = "configs/hardware", acceptance, batches = "1", lengths = "1,2,3,4,5,6,8,12,16";
  std::optional<std::string> draft_model, tree;
  std::optional<int> exit_layer, medusa_heads, cache_bits;
  bool drafting_layer = false, json = false;
  double other_us = 0;
  int context = 1024;
  SpeculationCase of;
};

struct PredictedRow {
  int batch = 1, length = 1;
  Expectation expected;
  std::string loss = {};
};

DraftSource draft_source(const PredictOptions& options, const formats::ModelConfig& target) {
  if (options.draft_model.has_value() + options.exit_layer.has_value() + options.medusa_heads.has_value() +
          options.drafting_layer >
      1)
    fail("--draft-model, --exit-layer, --medusa-heads and --drafting-layer: one of them drafts");
  DraftSource source{.other_seconds = options.other_us * 1e-6};
  if (options.draft_model) {
    source.kind = DraftSource::Kind::Model;
    source.model = analysis::load_described_model(*options.draft_model);
  } else if (options.exit_layer) {
    if (*options.exit_layer > target.num_layers)
      fail("--exit-layer: {}, the model has {}", *options.exit_layer, counted(target.num_layers, "layer"));
    source.kind = DraftSource::Kind::Exit;
    source.exit_layer = *options.exit_layer;
  } else if (options.medusa_heads) {
    source.kind = DraftSource::Kind::Medusa;
    source.heads = *options.medusa_heads;
  } else if (options.drafting_layer) {
    source.kind = DraftSource::Kind::Layer;
  }
  return source;
}

// Nodes by depth, one list for each draft that is asked for.
std::vector<std::vector<double>> drafts_of(const PredictOptions& options) {
  std::vector<std::vector<double>> drafts;
  if (options.tree) {
    const std::vector<int> tree = util::parse_tree(*options.tree, "--tree");
    if (tree.size() < 2) fail("--tree: expected at least one depth below the last committed token");
    drafts.emplace_back(tree.begin(), tree.end());
    return drafts;
  }
  for (const int length : util::parse_positive_list(options.lengths, "--draft-tokens", kMostDraftTokens)) {
    if (options.medusa_heads && length > *options.medusa_heads) continue;
    drafts.emplace_back(static_cast<std::size_t>(length) + 1, 1.0);
  }
  if (drafts.empty()) fail("--draft-tokens: none is at most the {} Medusa heads", *options.medusa_heads);
  return drafts;
}

std::vector<PredictedRow> predicted_rows(PredictOptions& options) {
  const formats::ModelConfig target = analysis::load_described_model(options.model);
  const auto hardware = cost::operators::load_hardware(options.hardware, options.devices);
  const DraftSource source = draft_source(options, target);
  const std::vector<double> acceptance = util::parse_probabilities(options.acceptance, "--acceptance");
  options.of.precision.cache = options.cache_bits.value_or(options.of.precision.activations);
  options.of.context = options.context;
  std::vector<PredictedRow> rows;
  for (const int batch : util::parse_positive_list(options.batches, "--batch", kMostSequences))
    for (const std::vector<double>& levels : drafts_of(options)) {
      options.of.batch = batch;
      options.of.levels = levels;
      PredictedRow row{.batch = batch,
                       .length = static_cast<int>(levels.size()) - 1,
                       .expected = cost::operators::expected_speedup(target, hardware, source, options.of, acceptance)};
      row.loss = cost::operators::loss_reason(row.expected, options.of);
      rows.push_back(std::move(row));
    }
  return rows;
}

// Of one batch, the row that gains most.
const PredictedRow& best_row(const std::vector<PredictedRow>& rows, int batch) {
  const PredictedRow* best = nullptr;
  for (const PredictedRow& row : rows)
    if (row.batch == batch && (!best || row.expected.speedup() > best->expected.speedup())) best = &row;
  FORETELL_CHECK(best != nullptr, "no row of batch {}", batch);
  return *best;
}

nlohmann::ordered_json to_json(const PredictedRow& row) {
  const cost::SpeedupPrediction& p = row.expected.prediction;
  const cost::operators::SpeculationCosts& c = row.expected.costs;
  return {{"batch", row.batch},
          {"draft_tokens", row.length},
          {"rows", p.rows},
          {"plain_seconds", c.plain},
          {"draft_seconds", c.draft},
          {"verify_seconds", c.verify},
          {"other_seconds", c.other},
          {"verify_bound", name_of(c.verify_bound)},
          {"kv_cache_fraction", c.cache_fraction},
          {"tokens_per_step", row.expected.tokens},
          {"speedup", row.expected.speedup()},
          {"speedup_if_all_accepted", p.oracle},
          {"break_even_acceptance", p.break_even ? nlohmann::ordered_json(*p.break_even) : nullptr},
          {"loss", row.loss}};
}

void print_rows(const std::vector<PredictedRow>& rows) {
  util::Table table({"batch", "length", "rows", "plain step", "draft", "verify", "<bound by", "cost", "tokens",
                     "speed-up", "break-even"});
  for (const PredictedRow& row : rows) {
    const cost::SpeedupPrediction& p = row.expected.prediction;
    const cost::operators::SpeculationCosts& c = row.expected.costs;
    table.add({std::to_string(row.batch), std::to_string(row.length), fmt::format("{:.0f}", p.rows),
               analysis::short_seconds(c.plain), analysis::short_seconds(c.draft + c.other),
               analysis::short_seconds(c.verify), name_of(c.verify_bound), fmt::format("{:.2f}", p.round_cost()),
               fmt::format("{:.2f}", row.expected.tokens), fmt::format("{:.2f}", row.expected.speedup()),
               p.break_even ? fmt::format("{:.2f}", *p.break_even) : "none"});
  }
  util::print_out(table.to_string());
  int batch = 0;
  for (const PredictedRow& row : rows) {
    if (row.batch == batch) continue;
    batch = row.batch;
    const PredictedRow& best = best_row(rows, batch);
    util::print_out(fmt::format("{}batch {}: best with {}, {:.2f}x{}\n", &row == rows.data() ? "\n" : "", batch,
                                counted(best.length, "draft token"), best.expected.speedup(),
                                best.loss.empty() ? "" : ": " + best.loss));
  }
}

void show_prediction(PredictOptions& options) {
  const std::vector<PredictedRow> rows = predicted_rows(options);
  if (!options.json) return print_rows(rows);
  nlohmann::ordered_json json{
      {"model", options.model}, {"hardware", options.hardware}, {"rows", nlohmann::ordered_json::array()}};
  for (const PredictedRow& row : rows) json["rows"].push_back(to_json(row));
  util::print_json(json, 2);
}

}  // namespace

void add_predict_command(util::Command app) {
  auto options = std::make_shared<PredictOptions>();
  util::Command command =
      app.add_command("predict", "What speculation should gain on a device, and why where it does not");
  command.add("--model", options->model, "the target's folder, or a config.json", {.type = "DIR", .required = true});
  command.add("--hardware", options->hardware, "one of configs/hardware, or a YAML file",
              {.type = "NAME", .required = true});
  command.add("--devices", options->devices, "the folder of devices", {.type = "DIR", .show_default = true});
  command.add("--acceptance", options->acceptance,
              "probability that a draft token is accepted; a list: of depth 1, 2 ... once it is reached",
              {.type = "P,P,...", .required = true});
  command.add("--draft-model", options->draft_model, "a model drafts; without any of these a lookup, for nothing",
              {.type = "DIR"});
  command.add("--exit-layer", options->exit_layer, "the target's first layers draft, with its head",
              {.type = "N", .min = 1, .max = kMostLayers});
  command.add("--medusa-heads", options->medusa_heads, "so many Medusa heads draft",
              {.type = "N", .min = 1, .max = kMostDraftTokens});
  command.add_flag("--drafting-layer", options->drafting_layer,
                   "a layer such as the target's last one drafts (EAGLE, multi-token prediction)");
  command.add("--other-us", options->other_us, "microseconds of a step that are no forward pass, such as a lookup",
              {.type = "T", .show_default = true, .min = 0, .max = kMostMicroseconds});
  command.add("--draft-tokens", options->lengths, "lengths of a chain", {.type = "N,N,...", .show_default = true});
  command.add("--tree", options->tree, "instead, the nodes of a draft tree by depth, the first one 1",
              {.type = "N,N,..."});
  command.add("--batch", options->batches, "sequences", {.type = "N,N,...", .show_default = true});
  command.add("--seq", options->context, "tokens in the KV cache of each",
              {.type = "N", .show_default = true, .min = 0, .max = kMostTokens});
  command.add("--w-bits", options->of.precision.weights, "of a weight: 32, 16, 8 or 4",
              {.type = "N", .show_default = true});
  command.add("--a-bits", options->of.precision.activations, "of an activation", {.type = "N", .show_default = true});
  command.add("--kv-bits", options->cache_bits, "of a number in the KV cache; without it those of an activation",
              {.type = "N"});
  command.add_flag("--flash", options->of.fused, "attention as one kernel that keeps scores on the chip");
  command.add_flag("--expanded-cache", options->of.expanded_cache,
                   "latent attention caches keys and values of every head, as Foretell runs it");
  command.add_flag("--json", options->json, "as one JSON object");
  command.run([options] { show_prediction(*options); });
}

}  // namespace foretell::cli::commands::estimate
