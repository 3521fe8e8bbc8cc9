#include "framework/cost/operators/efficiency.h"

#include <nlohmann/json.hpp>

#include "experiments/analysis/roofline.h"
#include "experiments/cli/commands/estimate/commands.h"
#include "experiments/cli/commands/estimate/ranges.h"
#include "experiments/util/console.h"
#include "experiments/util/table.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/cost/carbon.h"

namespace foretell::cli::commands::estimate {
namespace {

using cost::operators::Efficiency;

struct EfficiencyCommand {
  std::vector<std::string> models;
  std::string hardware, devices = "configs/hardware";
  int batch = 1;
  std::optional<int> cache_bits;
  cost::operators::EfficiencyCase of;
  bool json = false;
};

nlohmann::ordered_json to_json(const std::string& model, const Efficiency& e) {
  const auto number = [](const std::optional<double>& value) {
    return value ? nlohmann::ordered_json(*value) : nullptr;
  };
  return {{"model", model},
          {"parameters", e.parameters},
          {"active_parameters", e.active_parameters},
          {"weight_bytes", e.weight_bytes},
          {"kv_cache_bytes_per_token", e.cache_bytes_per_token},
          {"peak_bytes", e.peak_bytes},
          {"operations_per_token", e.operations_per_token},
          {"first_token_seconds", e.first_token},
          {"seconds_per_token", e.per_token},
          {"answer_seconds", e.answer},
          {"tokens_per_second", e.tokens_per_second},
          {"mfu", e.mfu},
          {"mbu", e.mbu},
          {"joules_per_token", number(e.joules_per_token)},
          {"grams_co2_per_1000_tokens", number(e.grams_per_kilotoken)}};
}

void print_efficiency(const EfficiencyCommand& command, const std::vector<Efficiency>& all,
                      const cost::operators::Hardware& hardware) {
  util::Table sizes({"<model", "parameters", "active", "weights, B", "KV, B/token", "memory, B", "OPs/token"});
  util::Table speeds({"<model", "first token", "per token", "tokens/s", "MFU", "MBU", "J/token", "g CO2/1000"});
  const auto number = [](const std::optional<double>& value) { return value ? fmt::format("{:.3g}", *value) : "-"; };
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Efficiency& e = all[i];
    const std::string name = std::filesystem::path(command.models[i]).stem().string();
    sizes.add({name, analysis::short_number(e.parameters), analysis::short_number(e.active_parameters),
               analysis::short_number(e.weight_bytes), analysis::short_number(e.cache_bytes_per_token),
               analysis::short_number(e.peak_bytes), analysis::short_number(e.operations_per_token)});
    speeds.add({name, analysis::short_seconds(e.first_token), analysis::short_seconds(e.per_token),
                analysis::short_number(e.tokens_per_second), fmt::format("{:.1f}%", 100 * e.mfu),
                fmt::format("{:.0f}%", 100 * e.mbu), number(e.joules_per_token), number(e.grams_per_kilotoken)});
  }
  util::print_out(sizes.to_string() + "\n" + speeds.to_string());
  const cost::operators::EfficiencyCase& of = command.of;
  util::print_out(fmt::format("\npredicted for {}: {} of {} behind {} each\n", hardware.name,
                              counted(command.batch, "answer"), counted(of.output, "token"),
                              counted(of.prompt, "token")));
  for (std::size_t i = 0; i < all.size(); ++i)
    if (hardware.memory && all[i].peak_bytes > *hardware.memory)
      util::print_out(fmt::format("{} does not fit {}B\n", std::filesystem::path(command.models[i]).stem().string(),
                                  analysis::short_number(*hardware.memory)));
  if (const auto watts = of.watts ? of.watts : hardware.watts)
    util::print_out(fmt::format(
        "energy is {} W (stated, not measured) times time{}\n", *watts,
        of.kg_per_kwh ? fmt::format("; emissions with a PUE of {} and {} kg/kWh", of.pue, *of.kg_per_kwh) : ""));
}

void show_efficiency(EfficiencyCommand& command) {
  const auto hardware = cost::operators::load_hardware(command.hardware, command.devices);
  if (command.of.kg_per_kwh && !command.of.watts && !hardware.watts)
    fail("--intensity: emissions need a power; {} has none, and --watts is not given", hardware.name);
  command.of.precision.cache = command.cache_bits.value_or(command.of.precision.activations);
  command.of.batch = command.batch;
  std::vector<Efficiency> all;
  for (const std::string& model : command.models)
    all.push_back(cost::operators::efficiency_of(analysis::load_described_model(model), hardware, command.of));
  if (!command.json) return print_efficiency(command, all, hardware);
  nlohmann::ordered_json json{{"hardware", command.hardware}, {"models", nlohmann::ordered_json::array()}};
  for (std::size_t i = 0; i < all.size(); ++i) json["models"].push_back(to_json(command.models[i], all[i]));
  util::print_json(json, 2);
}

struct TrainingCommand {
  cost::TrainingRun run;
  bool json = false;
};

// With so many decimals where that is a number that people read, else with three digits.
std::string amount(double value, int decimals) {
  const bool readable = value == 0 || (value >= 1 && value < 1e9);
  return readable ? fmt::format("{:.{}f}", value, decimals) : fmt::format("{:.3g}", value);
}

void show_training(const TrainingCommand& command) {
  const cost::TrainingRun& run = command.run;
  const cost::Footprint footprint = cost::training_footprint(run);
  if (command.json)
    return util::print_json(
        nlohmann::ordered_json{
            {"days", footprint.days}, {"megawatt_hours", footprint.megawatt_hours}, {"tonnes_co2", footprint.tonnes}},
        2);
  util::print_out(fmt::format("{} days, {} MWh, {} t of CO2 equivalents\n", amount(footprint.days, 1),
                              amount(footprint.megawatt_hours, 0), amount(footprint.tonnes, 0)));
}

void add_efficiency_training(util::Command parent) {
  auto options = std::make_shared<TrainingCommand>();
  cost::TrainingRun& run = options->run;
  util::Command training = parent.add_command("training", "days, energy and emissions of a training run (LLMCarbon)");
  training.add("--parameters", run.parameters, "of a mixture of experts the active ones",
               {.type = "N", .required = true, .min = 1, .max = 1e15});
  training.add("--tokens", run.tokens, "that are read", {.type = "N", .required = true, .min = 1, .max = 1e16});
  training.add("--devices", run.devices, "that compute", {.type = "N", .required = true, .min = 1, .max = 1e8});
  training.add("--peak", run.peak_flops, "of one, operations per second",
               {.type = "R", .required = true, .min = 1e6, .max = 1e18});
  training.add("--efficiency", run.efficiency, "share of the peak that is reached",
               {.type = "X", .required = true, .min = 1e-6, .max = 1});
  training.add("--watts", run.watts, "of one device", {.type = "W", .required = true, .min = 0, .max = 1e6});
  training.add("--pue", run.pue, "what the data centre takes, over what its devices take",
               {.type = "X", .show_default = true, .min = 1, .max = 100});
  training.add("--intensity", run.kg_per_kwh, "of the grid, in kg of CO2 equivalents a kWh",
               {.type = "X", .required = true, .min = 0, .max = 100});
  training.add_flag("--json", options->json, "as JSON");
  training.run([options] { show_training(*options); });
}

}  // namespace

void add_efficiency_command(util::Command app) {
  util::Command command = app.add_command("efficiency", "Size, speed, energy and emissions of models, by arithmetic");
  command.require_command();
  auto options = std::make_shared<EfficiencyCommand>();
  cost::operators::EfficiencyCase& of = options->of;
  util::Command model =
      command.add_command("model", "models on a device: parameters, memory, latency, MFU, MBU, energy");
  model.add("--model", options->models, "folders, or config.json files",
            {.type = "DIR", .required = true, .many = true});
  model.add("--hardware", options->hardware, "one of configs/hardware, or a YAML file",
            {.type = "NAME", .required = true});
  model.add("--devices", options->devices, "the folder of devices", {.type = "DIR", .show_default = true});
  model.add("--batch", options->batch, "sequences",
            {.type = "N", .show_default = true, .min = 1, .max = kMostSequences});
  model.add("--prompt", of.prompt, "tokens of each prompt",
            {.type = "N", .show_default = true, .min = 1, .max = kMostTokens});
  model.add("--output", of.output, "tokens of each answer",
            {.type = "N", .show_default = true, .min = 1, .max = kMostAnswer});
  model.add("--w-bits", of.precision.weights, "of a weight: 32, 16, 8 or 4", {.type = "N", .show_default = true});
  model.add("--a-bits", of.precision.activations, "of an activation", {.type = "N", .show_default = true});
  model.add("--kv-bits", options->cache_bits, "of a number in the KV cache; without it those of an activation",
            {.type = "N"});
  model.add_flag("--flash", of.fused, "attention as one kernel that keeps scores on the chip");
  model.add("--watts", of.watts, "what the device draws under load, by your word; without it the device's file",
            {.type = "W", .min = 0, .max = 1e6});
  model.add("--pue", of.pue, "what the data centre takes, over what its devices take",
            {.type = "X", .show_default = true, .min = 1, .max = 100});
  model.add("--intensity", of.kg_per_kwh, "of the grid, in kg of CO2 equivalents a kWh",
            {.type = "X", .min = 0, .max = 100});
  model.add_flag("--json", options->json, "as JSON");
  model.run([options] { show_efficiency(*options); });
  add_efficiency_training(command);
}

}  // namespace foretell::cli::commands::estimate
