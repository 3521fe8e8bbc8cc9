#include "framework/model/files/rope_config.h"

#include <nlohmann/json.hpp>

namespace foretell {
namespace {

constexpr double kLargest = 1e12;
constexpr double kSmallest = 1e-12;

RopeConfig::Scaling parse_scaling(const JsonObject& scaling) {
  const char* key = scaling.has("rope_type") ? "rope_type" : "type";
  const std::string type = scaling.string(key).value_or("default");
  if (type == "default") return RopeConfig::Scaling::None;
  if (type == "linear") return RopeConfig::Scaling::Linear;
  if (type == "llama3") return RopeConfig::Scaling::Llama3;
  if (type == "yarn") return RopeConfig::Scaling::Yarn;
  if (type == "dynamic") {
    scaling.refuse(
        key, "is 'dynamic': its frequencies change as the text grows, so stored keys would be wrong; known: default, linear, llama3, yarn");
  }
  scaling.refuse(key, "is '{}'; known: default, linear, llama3, yarn", shown(type));
}

int original_context(const JsonObject& config, const JsonObject& scaling, int context) {
  constexpr const char* kKey = "original_max_position_embeddings";
  const auto outer = config.integer(kKey, 1, 1 << 24);
  return static_cast<int>(outer ? *outer : scaling.integer(kKey, 1, 1 << 24).value_or(context));
}

void parse_llama3(const JsonObject& scaling, RopeConfig& rope) {
  rope.low_freq_factor = scaling.number("low_freq_factor", kSmallest, kLargest).value_or(1.0);
  rope.high_freq_factor = scaling.number("high_freq_factor", kSmallest, kLargest).value_or(4.0);
  if (rope.high_freq_factor <= rope.low_freq_factor) {
    scaling.refuse("high_freq_factor", "is {}, it must exceed low_freq_factor {}", rope.high_freq_factor, rope.low_freq_factor);
  }
}

void parse_yarn(const JsonObject& scaling, RopeConfig& rope) {
  rope.beta_fast = scaling.number("beta_fast", kSmallest, kLargest).value_or(32.0);
  rope.beta_slow = scaling.number("beta_slow", kSmallest, kLargest).value_or(1.0);
  rope.attention_factor = scaling.number("attention_factor", 0.0, kLargest);
  rope.mscale = scaling.number("mscale", 0.0, kLargest);
  rope.mscale_all_dim = scaling.number("mscale_all_dim", 0.0, kLargest);
  rope.truncate = scaling.boolean("truncate").value_or(true);
}

void parse_scaling_values(const JsonObject& config, const JsonObject& scaling, int context, RopeConfig& rope) {
  if (rope.scaling == RopeConfig::Scaling::None) return;
  if (rope.scaling != RopeConfig::Scaling::Linear) rope.original_context = original_context(config, scaling, context);
  const auto factor = scaling.number("factor", kSmallest, kLargest);
  if (factor) {
    rope.factor = *factor;
  } else if (rope.scaling == RopeConfig::Scaling::Yarn && rope.original_context < context) {
    rope.factor = static_cast<double>(context) / rope.original_context;
  } else {
    scaling.refuse("factor", "is missing");
  }
  if (rope.scaling == RopeConfig::Scaling::Llama3) parse_llama3(scaling, rope);
  if (rope.scaling == RopeConfig::Scaling::Yarn) parse_yarn(scaling, rope);
}

void parse_partial(const JsonObject& config, const JsonObject& parameters, int head_dim, RopeConfig& rope) {
  constexpr const char* kKey = "partial_rotary_factor";
  const JsonObject& holder = parameters.has(kKey) ? parameters : config;
  rope.partial = holder.number(kKey, kSmallest, 1.0).value_or(1.0);
  const int rotated = static_cast<int>(head_dim * rope.partial);
  if (rotated < 2 || rotated % 2 != 0) {
    if (holder.has(kKey))
      holder.refuse(kKey, "is {}: of {} elements of a head it rotates {}, an even number is needed", rope.partial, head_dim, rotated);
    config.refuse("head_dim", "is {}, rotary embeddings need an even number", head_dim);
  }
}

const char* scaling_name(RopeConfig::Scaling scaling) {
  switch (scaling) {
    case RopeConfig::Scaling::None: return "default";
    case RopeConfig::Scaling::Linear: return "linear";
    case RopeConfig::Scaling::Llama3: return "llama3";
    case RopeConfig::Scaling::Yarn: return "yarn";
  }
  return "default";
}

}  // namespace

RopeConfig parse_rope(const JsonObject& config, int head_dim, int context) {
  static const nlohmann::json kNothing = nlohmann::json::object();
  // A file that gives both spellings means the old one: tools that add an extension by hand still write rope_scaling.
  auto parameters = config.object("rope_scaling");
  if (!parameters || parameters->empty()) parameters = config.object("rope_parameters");
  if (!parameters) parameters = JsonObject(kNothing, config.name(), "rope_scaling.");

  RopeConfig rope;
  rope.scaling = parse_scaling(*parameters);
  const JsonObject& theta_holder = parameters->has("rope_theta") ? *parameters : config;
  auto theta = theta_holder.number("rope_theta", 1.0, kLargest);
  if (!theta) {
    const auto current = config.object("rope_parameters");
    if (current) theta = current->number("rope_theta", 1.0, kLargest);
  }
  rope.theta = theta.value_or(10000.0);
  if (rope.scaling == RopeConfig::Scaling::Yarn && rope.theta == 1.0) theta_holder.refuse("rope_theta", "is 1, which yarn cannot extend");
  rope.interleaved = config.boolean("rope_interleave").value_or(false);
  parse_partial(config, *parameters, head_dim, rope);
  parse_scaling_values(config, *parameters, context, rope);
  return rope;
}

nlohmann::ordered_json rope_json(const RopeConfig& rope) {
  nlohmann::ordered_json json = {{"rope_type", scaling_name(rope.scaling)}, {"rope_theta", rope.theta}};
  if (rope.partial != 1.0) json["partial_rotary_factor"] = rope.partial;
  if (rope.scaling == RopeConfig::Scaling::None) return json;
  json["factor"] = rope.factor;
  if (rope.scaling == RopeConfig::Scaling::Linear) return json;
  json["original_max_position_embeddings"] = rope.original_context;
  if (rope.scaling == RopeConfig::Scaling::Llama3) {
    json["low_freq_factor"] = rope.low_freq_factor;
    json["high_freq_factor"] = rope.high_freq_factor;
    return json;
  }
  json["beta_fast"] = rope.beta_fast;
  json["beta_slow"] = rope.beta_slow;
  json["truncate"] = rope.truncate;
  if (rope.attention_factor) json["attention_factor"] = *rope.attention_factor;
  if (rope.mscale) json["mscale"] = *rope.mscale;
  if (rope.mscale_all_dim) json["mscale_all_dim"] = *rope.mscale_all_dim;
  return json;
}

}  // namespace foretell
