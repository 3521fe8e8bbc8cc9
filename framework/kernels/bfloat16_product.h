// Products of bfloat16 rows with bfloat16 or int8 panels by the processor's bfloat16 instructions (AVX512_BF16).
//
// Contract: each output of each row is one sum over pairs of inputs in their order, formed by VDPBF16PS: for each pair
// both products are added to the sum in float32, denormal numbers count as zero. Whatever the number of rows. int8
// weights are widened to bfloat16, which is exact.
//
// Reference: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, VDPBF16PS.
#pragma once

#include <c10/util/BFloat16.h>

#include "framework/kernels/panels.h"

namespace foretell::kernels {

bool has_bfloat16_instructions();

// Only where there are such instructions. x [rows, inputs], y [rows, output.width].
void multiply_by_pairs(const Product& product, const at::BFloat16* x, float* y);
void multiply_by_pairs(const Product& product, const at::BFloat16* x, at::BFloat16* y);

// The same in the two steps of row_products.h.
void lay_out_pairs(const Product& product, const at::BFloat16* x);
void multiply_laid_out_pairs(const Product& product, GroupRange groups, float* y);
void multiply_laid_out_pairs(const Product& product, GroupRange groups, at::BFloat16* y);

}  // namespace foretell::kernels
