// A start for a transformer's weights that can already look things up in its prompt.
//
// Contract: changes weights that were drawn before (TrainableTransformer::initialise). Layer 0 gets heads that attend
// to the token 1, 2, 3 and 4 places earlier, by position alone, and write that token's code (the signs of a few
// coordinates of its embedding) into a slot of the residual stream each. Layer 1 gets the heads of one key-value group
// that search for a place whose last tokens equal the current last ones and copy what came there: induction heads
// (Olsson et al. 2022, arXiv 2209.11895), which a small model otherwise finds after a long plateau only, or never.
// Everything stays free to be learned away.
#pragma once

#include <span>

#include "framework/formats/model_config.h"
#include "framework/training/autograd/trainable.h"

namespace foretell::autograd {

// An Error with the reason for a model that has no room for such heads: learned positions, one layer, small heads or a
// small hidden size.
void start_with_induction(const formats::ModelConfig& config, std::span<const NamedWeight> weights);

}  // namespace foretell::autograd
