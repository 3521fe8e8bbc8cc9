// Measures what policies plan with: the cost of a forward of n rows.
//
// Contract: medians of interleaved forwards of the models as they are loaded, with the threads that are set, as rounds
// have them: one row follows one row, as plain decoding does; more rows follow a forward of the draft, if there is one,
// which takes caches from the target. Small models are measured more often, for about a second and a half: their
// forwards are short beside a slow spell. The largest forwards of a large model take seconds, so row counts end where
// one takes longer than a second.
#pragma once

#include <memory>

#include "framework/cost/row_costs.h"
#include "framework/model/language_model.h"

namespace foretell::measurement {

// Tokens that are in the cache when a forward is measured.
int row_cost_context(const formats::ModelConfig& target);

// `draft` may be null.
std::shared_ptr<const cost::RowCosts> measure_row_costs(const model::LanguageModel& target,
                                                        const model::LanguageModel* draft);

}  // namespace foretell::measurement
