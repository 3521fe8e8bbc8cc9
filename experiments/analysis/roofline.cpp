#include "experiments/analysis/roofline.h"

#include <nlohmann/json.hpp>

#include <cmath>

#include "experiments/util/table.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/io/mapped_file.h"

namespace foretell::analysis {
namespace {

using namespace cost::operators;

// A step of one token takes some 15 operators' arithmetic; more are no answer of a model but a slip.
constexpr int kMostOutput = 1 << 20;

std::string with_prefix(double value, std::span<const char* const> prefixes, double step) {
  std::size_t i = 0;
  while (std::abs(value) >= 999.5 && i + 1 < prefixes.size()) {
    value /= step;
    ++i;
  }
  const int decimals = std::abs(value) >= 99.95 ? 0 : std::abs(value) >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f}{}", value, value == 0 ? 0 : decimals, prefixes[i]);
}

// LLM-Viewer prints integers as such.
nlohmann::ordered_json number(double value) {
  constexpr double kExact = 9007199254740992.0;
  if (std::floor(value) == value && std::abs(value) < kExact) return static_cast<std::int64_t>(value);
  return value;
}

void add_work(const OperatorWork& work, nlohmann::ordered_json& json) {
  json["load_weight"] = number(work.load_weight);
  json["load_act"] = number(work.load_act);
  json["store_act"] = number(work.store_act);
  json["load_kv_cache"] = number(work.load_kv_cache);
  json["store_kv_cache"] = number(work.store_kv_cache);
}

nlohmann::ordered_json total_json(const ForwardOperators& forward) {
  nlohmann::ordered_json json{{"OPs", number(forward.total.operations)},
                              {"memory_access", number(forward.total.memory_access())}};
  add_work(forward.total, json);
  json["inference_time"] = forward.seconds;
  json["memory_consumption"] = number(forward.memory());
  json["memory_consumption_tmp_act"] = number(forward.activation_bytes);
  json["memory_consumption_weight"] = number(forward.weight_bytes);
  json["memory_consumption_kv_cache"] = number(forward.cache_bytes);
  return json;
}

nlohmann::ordered_json operators_json(const ForwardOperators& forward) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const OperatorCost& cost : forward.operators) {
    nlohmann::ordered_json entry{{"layers", cost.work.layers},
                                 {"OPs", number(cost.work.operations)},
                                 {"memory_access", number(cost.work.memory_access())},
                                 {"arithmetic_intensity", cost.intensity},
                                 {"performance", number(cost.performance)},
                                 {"bound", name_of(cost.bound)}};
    add_work(cost.work, entry);
    entry["inference_time"] = cost.seconds;
    json[cost.work.name] = std::move(entry);
  }
  return json;
}

void refuse_other_rules(const RooflineOptions& options) {
  if (options.rows != 1 || !options.tree.empty())
    fail("--rules llm-viewer: a step is one token, --rows and --tree are Foretell's");
  if (options.exit_layer) fail("--rules llm-viewer: all layers are passed, --exit-layer is Foretell's");
  if (options.expanded_cache) fail("--rules llm-viewer: there is no latent attention, --expanded-cache is Foretell's");
}

Roofline viewer_roofline(const formats::ModelConfig& model, const Hardware& hardware, const RooflineOptions& options) {
  refuse_other_rules(options);
  LlmViewerCase of{.batch = static_cast<double>(options.batch),
                   .tokens = static_cast<double>(options.tokens),
                   .precision = options.precision,
                   .fused = options.fused};
  Roofline roofline{.prefill = llm_viewer_forward(model, hardware, Stage::Prefill, of, options.quirks),
                    .decode = llm_viewer_forward(model, hardware, Stage::Decode, of, options.quirks)};
  if (options.output)
    roofline.generation_seconds =
        llm_viewer_generation(model, hardware, *options.prompt, *options.output, of, options.quirks);
  return roofline;
}

Roofline own_roofline(const formats::ModelConfig& model, const Hardware& hardware, const RooflineOptions& options) {
  ForwardShape shape{.batch = static_cast<double>(options.batch),
                     .rows = static_cast<double>(options.tokens),
                     .fused = options.fused,
                     .expanded_cache = options.expanded_cache,
                     .layers = options.exit_layer};
  Roofline roofline{.prefill = forward_operators(model, hardware, options.precision, shape), .decode = {}};
  shape.context = options.tokens;
  shape.rows = options.rows;
  shape.tree.assign(options.tree.begin(), options.tree.end());
  shape.logit_rows = shape.row_count();
  roofline.decode = forward_operators(model, hardware, options.precision, shape);
  if (options.output)
    roofline.generation_seconds =
        generation_seconds(model, hardware, options.precision, *options.prompt, *options.output, shape);
  return roofline;
}

void add_row(const OperatorWork& work, double operations_per_byte, double performance, const char* bound,
             double seconds, double all_seconds, util::Table& table) {
  const double n = work.layers;
  table.add({n > 1 ? fmt::format("{} x{}", work.name, n) : work.name, short_number(n * work.operations),
             short_number(n * work.load_weight), short_number(n * (work.load_act + work.store_act)),
             short_number(n * (work.load_kv_cache + work.store_kv_cache)), short_number(operations_per_byte),
             short_number(performance), bound, short_seconds(n * seconds),
             fmt::format("{:.1f}", 100 * n * seconds / all_seconds)});
}

std::string stage_text(const ForwardOperators& forward) {
  util::Table table({"<operator", "OPs", "weights", "act.", "KV", "OPs/B", "OP/s", "<bound", "time", "%"});
  for (const OperatorCost& cost : forward.operators)
    add_row(cost.work, cost.intensity, cost.performance, name_of(cost.bound), cost.seconds, forward.seconds, table);
  table.add_rule();
  const OperatorWork& total = forward.total;
  add_row(total, total.operations / total.memory_access(), total.operations / forward.seconds, "", forward.seconds,
          forward.seconds, table);
  return table.to_string();
}

std::string memory_text(const Roofline& roofline, const Hardware& hardware) {
  util::Table table({"<memory", "prefill", "decode"});
  const auto add = [&](const char* name, double prefill, double decode) {
    table.add({name, short_number(prefill), short_number(decode)});
  };
  const ForwardOperators &a = roofline.prefill, &b = roofline.decode;
  add("weights", a.weight_bytes, b.weight_bytes);
  add("KV cache", a.cache_bytes, b.cache_bytes);
  add("activations", a.activation_bytes, b.activation_bytes);
  add("together", a.memory(), b.memory());
  std::string text = table.to_string();
  if (hardware.memory) {
    const bool fits = std::max(a.memory(), b.memory()) <= *hardware.memory;
    text += fmt::format("{} has {}B: {}\n", hardware.name, short_number(*hardware.memory),
                        fits ? "it fits" : "it does not fit");
  }
  return text;
}

std::string peaks_text(const Hardware& hardware) {
  std::string text;
  const auto add = [&](const char* name, const std::optional<double>& peak) {
    if (peak) text += fmt::format(", {} {}OP/s", name, short_number(*peak));
  };
  add("fp32", hardware.peak.fp32);
  add("fp16", hardware.peak.fp16);
  add("bf16", hardware.peak.bf16);
  add("int8", hardware.peak.int8);
  add("int4", hardware.peak.int4);
  return text;
}

}  // namespace

formats::ModelConfig load_described_model(const std::filesystem::path& folder_or_config) {
  std::error_code error;
  if (std::filesystem::is_directory(folder_or_config, error)) return formats::load_model_config(folder_or_config);
  return formats::parse_model_config(io::MappedFile::open(folder_or_config).text(), folder_or_config.string());
}

std::string short_number(double value) {
  static constexpr const char* kPrefixes[] = {"", "k", "M", "G", "T", "P", "E"};
  return with_prefix(value, kPrefixes, 1000);
}

std::string short_seconds(double seconds) {
  static constexpr const char* kUnits[] = {" ns", " us", " ms", " s"};
  return with_prefix(seconds * 1e9, kUnits, 1000);
}

Roofline roofline_of(const formats::ModelConfig& model, const Hardware& hardware, const RooflineOptions& options) {
  if (options.prompt.has_value() != options.output.has_value()) fail("--prompt and --output belong together");
  if (options.output && *options.output > kMostOutput)
    fail("--output: {} tokens, at most {} are added up", *options.output, kMostOutput);
  return options.llm_viewer ? viewer_roofline(model, hardware, options) : own_roofline(model, hardware, options);
}

nlohmann::ordered_json to_json(const Roofline& roofline) {
  nlohmann::ordered_json json{
      {"total", {{"prefill", total_json(roofline.prefill)}, {"decode", total_json(roofline.decode)}}},
      {"ops", {{"prefill", operators_json(roofline.prefill)}, {"decode", operators_json(roofline.decode)}}}};
  if (roofline.generation_seconds) json["generate"] = {{"inference_time", *roofline.generation_seconds}};
  return json;
}

std::string to_text(const Roofline& roofline, const Hardware& hardware, const RooflineOptions& options) {
  const Precision& bits = options.precision;
  std::string text = fmt::format("{}: {}B/s{}\nweights of {}, activations of {}, KV cache of {}\n", hardware.name,
                                 short_number(hardware.bandwidth), peaks_text(hardware), counted(bits.weights, "bit"),
                                 bits.activations, bits.cache);
  const std::string sequences = counted(options.batch, "sequence");
  const int rows = static_cast<int>(ForwardShape{
      .rows = static_cast<double>(options.rows),
      .tree = {options.tree.begin(),
               options.tree.end()}}.row_count());
  text += fmt::format("\nPrefill of {} in {}\n{}", counted(options.tokens, "token"), sequences,
                      stage_text(roofline.prefill));
  text += fmt::format("\nForward pass over {} behind {} in {}\n{}", counted(rows, "token"),
                      counted(options.tokens, "token"), sequences, stage_text(roofline.decode));
  text += "\n" + memory_text(roofline, hardware);
  if (roofline.generation_seconds)
    text += fmt::format("\n{} behind a prompt of {}: {}, {:.1f} tokens/s\n", counted(*options.output, "token"),
                        *options.prompt, short_seconds(*roofline.generation_seconds),
                        options.batch * *options.output / *roofline.generation_seconds);
  return text;
}

}  // namespace foretell::analysis
