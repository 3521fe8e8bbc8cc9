// Products of a few bfloat16 rows in vectors that form sums as the processor's matrix tiles do.
//
// Contract: the same bits as tiled_product.h, for up to kVectorRows rows. Up to so many weights arrive no faster than
// vectors multiply them, while tiles wait for their loads.
#pragma once

#include <c10/util/BFloat16.h>

#include "framework/kernels/panels.h"

namespace foretell::kernels {

void multiply_in_tile_order(const Product& product, const at::BFloat16* x, float* y);
void multiply_in_tile_order(const Product& product, const at::BFloat16* x, at::BFloat16* y);

// The same in the two steps of row_products.h.
void lay_out_few(const Product& product, const at::BFloat16* x);
void multiply_few_groups(const Product& product, GroupRange groups, float* y);
void multiply_few_groups(const Product& product, GroupRange groups, at::BFloat16* y);

// Whether this processor's tiles form their sums as its manual says: a product by both, compared to the bit, asked once
// and only where there are tiles. If not, few rows have to go through tiles, too.
bool vectors_follow_tiles();

}  // namespace foretell::kernels
