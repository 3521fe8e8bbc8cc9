// The rotary part of a config.json, in its old spelling (rope_theta beside rope_scaling) and its new one
// (rope_parameters).
//
// Contract: values are read from the definitions of the extensions, not from a sample; a kind of scaling that cannot be
// run is an Error.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "framework/formats/model_config.h"
#include "framework/io/json.h"

namespace foretell::formats {

// What a family means where its file is silent, and which of the keys it has, as Transformers' class reads them.
struct RopeDefaults {
  double theta = 10000.0;
  const char* theta_key = "rope_theta";
  // Families without it rotate whole heads, whatever the file says.
  const char* partial_key = nullptr;
  double partial = 1.0;
  // Of the family that reads rope_interleave: what it means where it is absent.
  std::optional<bool> interleaved = {};
  std::optional<int> original_context = {};  // without it what the scaling says, else the whole context
  bool yarn_means_longrope = false;          // phi3's first files
};

// In a config.json that one of our importers wrote: adjacent pairs are rotated. No family of Hugging Face's has this
// key.
inline constexpr const char* kOwnInterleavedKey = "foretell_rope_interleave";

RopeConfig parse_rope(const io::JsonObject& config, int head_dim, int context, const RopeDefaults& defaults = {});

// Hugging Face's "rope_parameters" object.
nlohmann::ordered_json rope_json(const RopeConfig& rope);

}  // namespace foretell::formats
