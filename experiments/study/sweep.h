// The cells of a study: which values the swept paths take together.
//
//   sweep: {a.b: [1, 2], c: [x, y]}                          # the grid of all combinations
//   sweep:
//     grid:          {a.b: [1, 2], c: [x, y]}                # the same
//     zip:           {d: [1, 2], e: [10, 20]}                # the first values together, then the second ones
//     one_at_a_time: {f: [1, 2], g: [3]}                     # the study as it is, then each value alone: f=1, f=2, g=3
//     cells:         [{h: 1, i: 2}, {h: 5}]                  # these
//   sweep: [{grid: ...}, {cells: ...}]                       # one after the other
//
// Contract: pure. Forms that stand in one mapping are multiplied, the first one varies slowest, as it is written; so
// does a grid's first path. A path that an override names is not swept any more. More than 10,000 cells are an Error.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "framework/core/config_value.h"

namespace foretell::study {

struct SweepPoint {
  std::vector<std::pair<std::string, ConfigValue>> values = {};  // full dotted path -> value
  bool may_repeat = false;  // one value at a time: the study's own value may be among them, and then it is the study as
                            // it is, not a second cell

  ConfigValue settings() const;  // the same as a mapping
  std::string name() const;      // for people: "prompt_lookup prompt_lookup_max=3, temperature=1.0"
};

// At least one point: a study without a sweep has one point without values.
std::vector<SweepPoint> expand_sweep(const ConfigValue& sweep, const std::vector<std::string>& overrides);

// How a value reads in a name: {type: model, k: 4} is "model k=4", a plain value "key=value".
std::string short_name(const std::string& key, const ConfigValue& value);

}  // namespace foretell::study
