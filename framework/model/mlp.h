// The two matrices of an MLP with the activation between them.
//
// Contract: for inference. Gated: the upper matrix has the gate's rows first, then those that it is multiplied with.
#pragma once

#include <ATen/core/Tensor.h>

#include "framework/formats/model_config.h"
#include "framework/model/linear.h"

namespace foretell::model {

// What the lower matrix is given: x [rows, in] -> [rows, width].
at::Tensor mlp_inside(const at::Tensor& x, const Linear& up, Activation activation, bool gated);

// x [rows, in] -> [rows, out]
at::Tensor mlp_rows(const at::Tensor& x, const Linear& up, const Linear& down, Activation activation, bool gated);

}  // namespace foretell::model
