// What attention lays out anew for the processor's matrix tiles (tile_product.h): keys, values and weights of a piece
// of 64 rows of the cache.
//
// Contract: bfloat16. The layouts are those of tile_product.h; rows that are missing in a piece are zero. Widths are
// multiples of 32.
#pragma once

#include <c10/util/BFloat16.h>

#include <cstdint>

#include "framework/kernels/tile_product.h"

namespace foretell::kernels {

constexpr int kAttendedPiece = 64;  // rows of the cache: four panels of keys, two steps of values

// keys [count, width] -> four panels of 16 keys, [4][width / 2][16] pairs.
void lay_out_keys(const at::BFloat16* keys, int count, std::int64_t width, std::uint32_t* to);
// values [count, width] -> width / 16 panels of 16 columns, [width / 16][32][16] pairs.
void lay_out_values(const at::BFloat16* values, int count, std::int64_t width, std::uint32_t* to);
// query [width], as row `row` of a block of so many rows.
void lay_out_query(const at::BFloat16* query, int row, int rows, std::int64_t width, at::BFloat16* to);
// weights [rows, 64], rounded, as a block's tiles.
void lay_out_weights(const float* weights, int rows, at::BFloat16* to);

}  // namespace foretell::kernels
