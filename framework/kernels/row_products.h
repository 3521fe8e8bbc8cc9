// Products with a matrix in a parallel region that is there already.
//
// Contract: lay_out_rows() prepares x for the calling thread, in memory that the thread keeps; multiply_groups() then
// writes the outputs of some groups of panels for the rows that the thread laid out last, of the same product. To the
// bit what PackedMatrix's products are. At most kRegionRows rows: each thread lays them out for itself.
#pragma once

#include <c10/util/BFloat16.h>

#include "framework/kernels/matrix_path.h"
#include "framework/kernels/panels.h"

namespace foretell::kernels {

constexpr std::int64_t kRegionRows = 64;

// What a product of bfloat16 rows goes through: one path for all numbers of rows.
MatrixPath path_of(const Product& product);

// x [rows, inputs], y [rows, output.width]. The first argument of multiply_groups is x's type alone.
void lay_out_rows(const Product& product, const float* x);
void lay_out_rows(const Product& product, const at::BFloat16* x);
template <class X, class Y>
void multiply_groups(const Product& product, GroupRange groups, Y* y);

}  // namespace foretell::kernels
