// A matrix product for few rows, without dispatch, packing or temporaries.
//
// Contract: y = x w^T + bias on the CPU, in float32 inside, rounded once. Weights are read once, in their plain [out, in] order, for up to eight rows at a
// time. It is for products that are too small to be worth an operator's overhead, and for bfloat16 on processors without bfloat16 instructions, where
// oneDNN's emulation costs more than the reading.
#pragma once

#include <ATen/core/Tensor.h>

namespace foretell {

// x [rows, in], weight [out, in], bias [out] or undefined; all contiguous, of one type (float32 or bfloat16), on the CPU. -> [rows, out]
at::Tensor direct_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

// Whether this processor multiplies bfloat16 itself.
bool has_bfloat16_instructions();

}  // namespace foretell
