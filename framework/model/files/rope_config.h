// The rotary part of a config.json, in its old spelling (rope_theta beside rope_scaling) and its new one (rope_parameters).
//
// Contract: values are read from the definitions of the extensions, not from a sample; a kind of scaling that cannot be run is an Error.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "framework/model/files/json.h"
#include "framework/model/files/model_config.h"

namespace foretell {

RopeConfig parse_rope(const JsonObject& config, int head_dim, int context);

// Hugging Face's "rope_parameters" object.
nlohmann::ordered_json rope_json(const RopeConfig& rope);

}  // namespace foretell
