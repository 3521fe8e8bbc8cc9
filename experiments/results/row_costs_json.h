// The cost of rows as manifests and recorded distributions keep it: {"target": [{"rows", "ns"}, ...], "draft": [...]}.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "framework/cost/row_costs.h"
#include "framework/io/json_reader.h"

namespace foretell::results {

nlohmann::ordered_json to_json(const cost::RowCosts& costs);
// What to_json() gave; an Error for anything else.
template <class Json>
std::shared_ptr<const cost::RowCosts> row_costs_from(const io::BasicJsonView<Json>& costs);

}  // namespace foretell::results
