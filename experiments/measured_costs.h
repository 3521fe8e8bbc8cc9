// Measures what policies plan with: the cost of a forward of n rows.
//
// Contract: the fastest of several interleaved forwards of the models as they are loaded, with the threads that are set: on a busy machine a median would
// hold its neighbours' work too. Small models are measured more often, for about a second and a half: their forwards are short beside a slow spell. The
// largest forwards of a large model take seconds, so row counts end where one takes longer than a second.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "framework/cost/row_costs.h"
#include "framework/model/language_model.h"

namespace foretell {

// `draft` may be null.
std::shared_ptr<const RowCosts> measure_row_costs(const LanguageModel& target, const LanguageModel* draft);

// {"target": [{"rows", "ns"}, ...], "draft": [...]}: as manifests and recorded laws keep them.
nlohmann::ordered_json to_json(const RowCosts& costs);

}  // namespace foretell
