// The shape that costs are computed from (framework/cost/model_costs.h), of a model that was loaded or is about to be.
//
// Contract: `number_bytes` is the size of a number as the model runs, 4 for float32, and holds for weights and cache
// alike. What the shape leaves out is small: norms, biases and learned positions.
#pragma once

#include "framework/cost/model_costs.h"
#include "framework/formats/model_config.h"

namespace foretell::analysis {

cost::ModelShape model_shape(const formats::ModelConfig& config, double number_bytes);

}  // namespace foretell::analysis
