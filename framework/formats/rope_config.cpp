#include "framework/formats/rope_config.h"

#include <nlohmann/json.hpp>

#include "framework/core/text.h"

namespace foretell::formats {
namespace {

constexpr double kLargest = 1e12;
constexpr double kSmallest = 1e-12;

constexpr const char* kKnown = "default, linear, llama3, yarn, longrope";

RopeConfig::Scaling parse_scaling(const io::JsonObject& scaling, const RopeDefaults& defaults) {
  const char* key = scaling.has("rope_type") ? "rope_type" : "type";
  const std::string type = scaling.string(key).value_or("default");
  if (type == "default") return RopeConfig::Scaling::None;
  if (type == "linear") return RopeConfig::Scaling::Linear;
  if (type == "llama3") return RopeConfig::Scaling::Llama3;
  if (type == "longrope" || (defaults.yarn_means_longrope && (type == "yarn" || type == "su")))
    return RopeConfig::Scaling::LongRope;
  if (type == "yarn") return RopeConfig::Scaling::Yarn;
  if (type == "dynamic") {
    scaling.refuse(key,
                   "is 'dynamic': its frequencies change as the text grows, so stored keys would be wrong; known: {}",
                   kKnown);
  }
  scaling.refuse(key, "is '{}'; known: {}", io::shown(type), kKnown);
}

// A family with a default of its own knows the outer key only: an inner one is not read there, nor does Transformers
// read it.
int original_context(const io::JsonObject& config, const io::JsonObject& scaling, int context,
                     const RopeDefaults& defaults) {
  constexpr const char* kKey = "original_max_position_embeddings";
  if (const auto outer = config.integer(kKey, 1, 1 << 24)) return static_cast<int>(*outer);
  if (defaults.original_context) return *defaults.original_context;
  return static_cast<int>(scaling.integer(kKey, 1, 1 << 24).value_or(context));
}

void parse_llama3(const io::JsonObject& scaling, RopeConfig& rope) {
  rope.low_freq_factor = scaling.number("low_freq_factor", kSmallest, kLargest).value_or(1.0);
  rope.high_freq_factor = scaling.number("high_freq_factor", kSmallest, kLargest).value_or(4.0);
  if (rope.high_freq_factor <= rope.low_freq_factor) {
    scaling.refuse("high_freq_factor", "is {}, it must exceed low_freq_factor {}", rope.high_freq_factor,
                   rope.low_freq_factor);
  }
}

void parse_yarn(const io::JsonObject& scaling, RopeConfig& rope) {
  rope.beta_fast = scaling.number("beta_fast", kSmallest, kLargest).value_or(32.0);
  rope.beta_slow = scaling.number("beta_slow", kSmallest, kLargest).value_or(1.0);
  rope.attention_factor = scaling.number("attention_factor", 0.0, kLargest);
  rope.mscale = scaling.number("mscale", 0.0, kLargest);
  rope.mscale_all_dim = scaling.number("mscale_all_dim", 0.0, kLargest);
  rope.truncate = scaling.boolean("truncate").value_or(true);
}

std::vector<double> parse_factors(const io::JsonObject& scaling, const char* key, int pairs) {
  const nlohmann::json* list = scaling.find(key);
  if (list == nullptr) scaling.refuse(key, "is missing");
  if (!list->is_array() || static_cast<int>(list->size()) != pairs) {
    scaling.refuse(key, "is {}, a list of {} is expected, one for each rotated pair", io::shown(*list),
                   counted(pairs, "number"));
  }
  std::vector<double> factors;
  for (const auto& value : *list) {
    const double factor = value.is_number() ? value.get<double>() : 0.0;
    if (!(factor >= kSmallest && factor <= kLargest))
      scaling.refuse(key, "holds {}, numbers above 0 are expected", io::shown(value));
    factors.push_back(factor);
  }
  return factors;
}

void parse_scaling_values(const io::JsonObject& config, const io::JsonObject& scaling, int context,
                          const RopeDefaults& defaults, RopeConfig& rope) {
  if (rope.scaling == RopeConfig::Scaling::None) return;
  if (rope.scaling != RopeConfig::Scaling::Linear)
    rope.original_context = original_context(config, scaling, context, defaults);
  const auto factor = scaling.number("factor", kSmallest, kLargest);
  if (factor) {
    rope.factor = *factor;
  } else if (rope.scaling == RopeConfig::Scaling::LongRope ||
             (rope.scaling == RopeConfig::Scaling::Yarn && rope.original_context < context)) {
    rope.factor = static_cast<double>(context) / rope.original_context;
  } else {
    scaling.refuse("factor", "is missing");
  }
  if (rope.scaling == RopeConfig::Scaling::Llama3) parse_llama3(scaling, rope);
  if (rope.scaling == RopeConfig::Scaling::Yarn) parse_yarn(scaling, rope);
  if (rope.scaling == RopeConfig::Scaling::LongRope)
    rope.attention_factor = scaling.number("attention_factor", 0.0, kLargest);
}

// The share of each head that is rotated. Transformers' classes without partial rotation ignore the key, but their
// functions for scaled positions do not: that ends in an error there.
void parse_partial(const io::JsonObject& config, const io::JsonObject& parameters, int head_dim,
                   const RopeDefaults& defaults, RopeConfig& rope) {
  constexpr const char* kKey = "partial_rotary_factor";
  const bool inner = parameters.has(kKey);
  const io::JsonObject& holder = inner ? parameters : config;
  const char* key = inner || defaults.partial_key == nullptr ? kKey : defaults.partial_key;
  const auto given = holder.number(key, kSmallest, 1.0);
  if (defaults.partial_key != nullptr)
    rope.partial = given.value_or(defaults.partial);
  else if (given.value_or(1.0) != 1.0 && rope.scaling != RopeConfig::Scaling::None)
    holder.refuse(key, "is {} beside a scaling of the positions: this architecture rotates whole heads", *given);
  // A family with a key of its own ignores the usual one too, but again those functions do not.
  const auto usual = config.number(kKey, kSmallest, 1.0);
  if (rope.scaling != RopeConfig::Scaling::None && usual.value_or(rope.partial) != rope.partial)
    config.refuse(kKey, "is {} beside a scaling of the positions, and {} says {}", *usual, key, rope.partial);
  const int rotated = static_cast<int>(head_dim * rope.partial);
  if (rotated < 2 || rotated % 2 != 0) {
    if (holder.has(key))
      holder.refuse(key, "is {}: of {} of a head it rotates {}, an even number is needed", rope.partial,
                    counted(head_dim, "element"), rotated);
    config.refuse("head_dim", "is {}, rotary embeddings need an even number of its elements, {} are rotated", head_dim,
                  rotated);
  }
}

// Adjacent pairs instead of halves. A family of Hugging Face's has a key for it; our own importers mark theirs with
// another one.
void parse_interleaved(const io::JsonObject& config, const RopeDefaults& defaults, RopeConfig& rope) {
  constexpr const char* kKey = "rope_interleave";
  const auto given = config.boolean(kKey);
  if (defaults.interleaved) {
    rope.interleaved = given.value_or(*defaults.interleaved && !config.is_null(kKey));
    return;
  }
  if (given.value_or(false))
    config.refuse(kKey,
                  "is true, which this architecture does not know: a model that was imported by an older version has "
                  "to be imported again");
  rope.interleaved = config.boolean(kOwnInterleavedKey).value_or(false);
}

double parse_theta(const io::JsonObject& config, const io::JsonObject& parameters, const RopeDefaults& defaults) {
  const bool inner = parameters.has("rope_theta");
  const io::JsonObject& holder = inner ? parameters : config;
  const char* key = inner ? "rope_theta" : defaults.theta_key;
  const double theta = holder.number(key, 1.0, kLargest).value_or(defaults.theta);
  if (theta == 1.0 && parse_scaling(parameters, defaults) == RopeConfig::Scaling::Yarn)
    holder.refuse(key, "is 1, which yarn cannot extend");
  return theta;
}

// Of two spellings Transformers reads the old one alone; a base that stands in the other one would be lost without a
// word.
void refuse_lost_theta(const io::JsonObject& config, double theta) {
  const auto other = config.object("rope_parameters");
  const auto lost = other ? other->number("rope_theta", 1.0, kLargest) : std::nullopt;
  if (lost && *lost != theta)
    config.refuse("rope_scaling",
                  "stands beside a rope_parameters with another rope_theta ({}, {} is read): put it into one of them",
                  *lost, theta);
}

const char* scaling_name(RopeConfig::Scaling scaling) {
  switch (scaling) {
    case RopeConfig::Scaling::None: return "default";
    case RopeConfig::Scaling::Linear: return "linear";
    case RopeConfig::Scaling::Llama3: return "llama3";
    case RopeConfig::Scaling::Yarn: return "yarn";
    case RopeConfig::Scaling::LongRope: return "longrope";
  }
  return "default";
}

}  // namespace

RopeConfig parse_rope(const io::JsonObject& config, int head_dim, int context, const RopeDefaults& defaults) {
  static const nlohmann::json kNothing = nlohmann::json::object();
  // Of a file that gives both spellings the old one counts, as for Transformers: tools that add an extension by hand
  // still write it.
  auto parameters = config.object("rope_scaling");
  if (!parameters || parameters->empty()) parameters = config.object("rope_parameters");
  if (!parameters) parameters = io::JsonObject(kNothing, config.name(), "rope_scaling.");
  for (const char* kind : {"full_attention", "sliding_attention"})
    if (parameters->has(kind))
      parameters->refuse(kind, "is given: rotary positions that differ between kinds of layers cannot be read");

  RopeConfig rope;
  rope.scaling = parse_scaling(*parameters, defaults);
  rope.theta = parse_theta(config, *parameters, defaults);
  refuse_lost_theta(config, rope.theta);
  parse_interleaved(config, defaults, rope);
  parse_partial(config, *parameters, head_dim, defaults, rope);
  parse_scaling_values(config, *parameters, context, defaults, rope);
  if (rope.scaling == RopeConfig::Scaling::LongRope) {
    if (rope.original_context < 2)
      parameters->refuse("original_max_position_embeddings", "is {}, at least 2 is needed", rope.original_context);
    const int pairs = static_cast<int>(head_dim * rope.partial) / 2;
    rope.short_factors = parse_factors(*parameters, "short_factor", pairs);
    rope.long_factors = parse_factors(*parameters, "long_factor", pairs);
  }
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
  if (rope.attention_factor) json["attention_factor"] = *rope.attention_factor;
  if (rope.scaling == RopeConfig::Scaling::LongRope) {
    json["short_factor"] = rope.short_factors;
    json["long_factor"] = rope.long_factors;
    return json;
  }
  json["beta_fast"] = rope.beta_fast;
  json["beta_slow"] = rope.beta_slow;
  json["truncate"] = rope.truncate;
  if (rope.mscale) json["mscale"] = *rope.mscale;
  if (rope.mscale_all_dim) json["mscale_all_dim"] = *rope.mscale_all_dim;
  return json;
}

}  // namespace foretell::formats
