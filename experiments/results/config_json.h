/// Settings as JSON, as manifests and study.json hold them.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "framework/core/config_value.h"

namespace foretell::results {

nlohmann::ordered_json settings_json(const ConfigValue& value);

}  // namespace foretell::results
