#include <ATen/Parallel.h>

#include <nlohmann/json.hpp>

#include "experiments/analysis/roofline.h"
#include "experiments/cell/model_pool.h"
#include "experiments/cli/commands/bench/bench.h"
#include "experiments/cli/commands/bench/commands.h"
#include "experiments/report/roofline_plot.h"
#include "experiments/study/thread_options.h"
#include "experiments/util/console.h"
#include "experiments/util/table.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/measurement/bench_model.h"

namespace foretell::cli::commands::bench {
namespace {

using Part = model::ForwardProbe::Part;

constexpr std::array kPartNames = {"embedding", "norm", "qkv",  "rope + cache", "attention",
                                   "output",    "mlp",  "head", "rest"};
static_assert(kPartNames.size() == model::ForwardProbe::kParts);
constexpr int kMostProfiled = 1 << 20;

struct ProfileOptions {
  std::string model, hardware, devices = "configs/hardware";
  std::optional<std::string> dtype, kv_dtype, svg;
  int rows = 1, context = 128, repeats = 21;
  study::ThreadOptions threads;
  bool json = false;
};

struct ProfiledPart {
  double measured = 0, bound = 0;  // seconds of all layers
  double operations = 0, bytes = 0;
};

// Which part an operator of forward_operators.h belongs to: residual additions are fused into the products before them.
Part part_of(const std::string& name) {
  if (name == "embedding") return Part::Embedding;
  if (name == "lm_head") return Part::Head;
  if (name == "rope") return Part::Rope;
  if (name == "attn_norm" || name == "mlp_norm" || name == "final_norm") return Part::Norm;
  if (name == "out_proj" || name == "attn_add") return Part::Output;
  if (name.starts_with("fused_attention")) return Part::Attention;
  const bool input = name.starts_with("q_") || name.starts_with("k_") || name.starts_with("v_") ||
                     name.starts_with("kv_") || name == "qk_norm";
  return input ? Part::Qkv : Part::Mlp;
}

cost::operators::Precision precision_of(const ProfileOptions& options, const formats::ModelConfig& config) {
  const std::string type = cell::number_type(options.dtype, config);
  if (type == "f64" || type == "float64") fail("--dtype: f64 has no roofline; expected f32, bf16, int8 or int4");
  const int bits = type == "bf16" || type == "bfloat16" ? 16 : 32;
  const bool int4 = options.dtype && options.dtype->starts_with("int4");
  const int weights = options.dtype == "int8" ? 8 : int4 ? 4 : bits;
  return {.weights = weights, .activations = bits, .cache = options.kv_dtype == "int8" ? 8 : bits};
}

std::vector<ProfiledPart> parts_of(const measurement::ForwardProfile& profile,
                                   const cost::operators::ForwardOperators& forward) {
  std::vector<ProfiledPart> parts(model::ForwardProbe::kParts);
  for (std::size_t i = 0; i < parts.size(); ++i) parts[i].measured = profile.seconds[i];
  for (const cost::operators::OperatorCost& cost : forward.operators) {
    ProfiledPart& part = parts[static_cast<std::size_t>(part_of(cost.work.name))];
    part.bound += cost.work.layers * cost.seconds;
    part.operations += cost.work.layers * cost.work.operations;
    part.bytes += cost.work.layers * cost.work.memory_access();
  }
  return parts;
}

double sum_of(const std::vector<ProfiledPart>& parts) {
  double sum = 0;
  for (const ProfiledPart& part : parts) sum += part.measured;
  return sum;
}

nlohmann::ordered_json to_json(const ProfileOptions& options, const std::vector<ProfiledPart>& parts, double wall,
                               double bound) {
  nlohmann::ordered_json json{{"model", options.model},     {"hardware", options.hardware},
                              {"rows", options.rows},       {"context", options.context},
                              {"repeats", options.repeats}, {"threads", at::get_num_threads()},
                              {"wall_seconds", wall},       {"sum_seconds", sum_of(parts)},
                              {"bound_seconds", bound},     {"parts", nlohmann::ordered_json::array()}};
  for (std::size_t i = 0; i < parts.size(); ++i)
    json["parts"].push_back({{"part", kPartNames[i]},
                             {"seconds", parts[i].measured},
                             {"bound_seconds", parts[i].bound},
                             {"operations", parts[i].operations},
                             {"bytes", parts[i].bytes}});
  return json;
}

void print_parts(const ProfileOptions& options, const std::vector<ProfiledPart>& parts, double wall, double bound) {
  util::Table table({"<part", "measured", "%", "bound", "of bound"});
  const auto add = [&](const std::string& name, double measured, double bound_of) {
    table.add({name, analysis::short_seconds(measured), fmt::format("{:.1f}", 100 * measured / wall),
               bound_of > 0 ? analysis::short_seconds(bound_of) : "-",
               bound_of > 0 ? fmt::format("{:.2f}x", measured / bound_of) : "-"});
  };
  for (std::size_t i = 0; i < parts.size(); ++i) add(kPartNames[i], parts[i].measured, parts[i].bound);
  table.add_rule();
  add("sum", sum_of(parts), bound);
  add("whole pass", wall, bound);
  util::print_out(table.to_string());
  util::print_out(fmt::format("\n{} behind {}; medians of {}, {}; bounds by {}\n", counted(options.rows, "token"),
                              counted(options.context, "token"), counted(options.repeats, "pass", "passes"),
                              counted(at::get_num_threads(), "thread"), options.hardware));
}

void draw_profile(const ProfileOptions& options, const cost::operators::Hardware& hardware,
                  const cost::operators::Precision& precision, const cost::operators::OperatorWork& total,
                  const std::vector<ProfiledPart>& parts) {
  report::RooflineChart chart{
      .hardware = hardware,
      .bits = std::max(precision.weights, precision.activations),
      .bandwidth = hardware.bandwidth_over(total.load_weight + total.load_kv_cache),
      .title = fmt::format("{} on {}: {} behind {}", std::filesystem::path(options.model).stem().string(),
                           hardware.name, counted(options.rows, "token"), counted(options.context, "token")),
      .points = {}};
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const ProfiledPart& part = parts[i];
    if (part.operations <= 0 || part.measured <= 0) continue;
    chart.points.push_back({.name = kPartNames[i],
                            .intensity = part.operations / part.bytes,
                            .bound = part.operations / part.bound,
                            .measured = part.operations / part.measured});
  }
  report::draw_roofline(chart, *options.svg);
}

void profile(const ProfileOptions& options) {
  const auto hardware = cost::operators::load_hardware(options.hardware, options.devices);
  const formats::ModelConfig config = formats::load_model_config(options.model);
  const cost::operators::Precision precision = precision_of(options, config);
  const auto forward = cost::operators::forward_operators(config, hardware, precision,
                                                          {.context = static_cast<double>(options.context),
                                                           .rows = static_cast<double>(options.rows),
                                                           .logit_rows = static_cast<double>(options.rows),
                                                           .fused = true,
                                                           .expanded_cache = true});
  if (options.rows + options.context > config.context)
    fail("--rows and --context: {} positions, the model has {}", options.rows + options.context, config.context);
  options.threads.apply();
  const auto model = model::load_model(options.model, cell::load_options(options.dtype, "cpu", options.kv_dtype));
  const runner::MachineWatch watch(at::get_num_threads());
  const measurement::ForwardProfile measured =
      measurement::profile_forward(*model, options.rows, options.context, options.repeats);
  const std::vector<ProfiledPart> parts = parts_of(measured, forward);
  if (options.svg) draw_profile(options, hardware, precision, forward.total, parts);
  if (options.json)
    util::print_json(to_json(options, parts, measured.wall, forward.seconds), 2);
  else
    print_parts(options, parts, measured.wall, forward.seconds);
  show_notes(watch);
}

}  // namespace

void add_profile_command(util::Command app) {
  auto options = std::make_shared<ProfileOptions>();
  util::Command command =
      app.add_command("profile", "Where a forward pass spends its time, operator by operator, beside its roofline");
  command.add("--model", options->model, "the model's folder", {.type = "DIR", .required = true});
  command.add("--hardware", options->hardware,
              "this machine: a file of `foretell bench machine`, or of configs/hardware",
              {.type = "NAME", .required = true});
  command.add("--devices", options->devices, "the folder of devices", {.type = "DIR", .show_default = true});
  command.add("--rows", options->rows, "tokens of the pass",
              {.type = "N", .show_default = true, .min = 1, .max = kMostProfiled});
  command.add("--context", options->context, "tokens in the cache before",
              {.type = "N", .show_default = true, .min = 0, .max = kMostProfiled});
  command.add("--repeats", options->repeats, "of which medians are reported",
              {.type = "N", .show_default = true, .min = 1, .max = 100000});
  command.add("--dtype", options->dtype, "f32, bf16, int8 or int4 (weights); without it what the checkpoint says",
              {.type = "T"});
  command.add("--kv-dtype", options->kv_dtype, "of keys and values: auto (as the model's) or int8", {.type = "T"});
  command.add("--svg", options->svg, "a log-log chart of bounds and measured points, drawn by gnuplot: .svg or .png",
              {.type = "FILE"});
  options->threads.declare(command);
  command.add_flag("--json", options->json, "as JSON");
  command.run([options] { profile(*options); });
}

}  // namespace foretell::cli::commands::bench
