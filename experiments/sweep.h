// The grid of a study: every combination of the values that the swept paths take.
//
// Contract: pure. The first path varies slowest, as it is written. A path that an override names is not swept any more.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "framework/base/config_value.h"

namespace foretell {

struct SweepPoint {
  std::vector<std::pair<std::string, ConfigValue>> values;  // full dotted path -> value

  ConfigValue settings() const;  // the same as a mapping
  std::string name() const;      // for people: "prompt_lookup prompt_lookup_max=3, temperature=1.0"
};

// At least one point: a study without a sweep has one point without values.
std::vector<SweepPoint> expand_sweep(const ConfigValue& sweep, const std::vector<std::string>& overrides);

// How a value reads in a name: {type: model, k: 4} is "model k=4", a plain value "key=value".
std::string short_name(const std::string& key, const ConfigValue& value);

}  // namespace foretell
