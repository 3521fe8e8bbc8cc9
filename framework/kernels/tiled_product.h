// Products of bfloat16 rows with bfloat16 or int8 panels by the processor's matrix tiles (AMX).
//
// Contract: the order of sums is the tiles' (tile_product.h), whatever the number of rows. The number of inputs is a
// multiple of kTileInputs.
#pragma once

#include <c10/util/BFloat16.h>

#include "framework/kernels/panels.h"

namespace foretell::kernels {

// Only where has_tiles(). x [rows, inputs], y [rows, output.width].
void multiply_by_tiles(const Product& product, const at::BFloat16* x, float* y);
void multiply_by_tiles(const Product& product, const at::BFloat16* x, at::BFloat16* y);

// The same in the two steps of row_products.h.
void lay_out_tiles(const Product& product, const at::BFloat16* x);
void multiply_laid_out_tiles(const Product& product, GroupRange groups, float* y);
void multiply_laid_out_tiles(const Product& product, GroupRange groups, at::BFloat16* y);

}  // namespace foretell::kernels
