// The arithmetic of BitNet b1.58's linear layers (Wang et al. 2023, arXiv 2310.11453; Ma et al. 2024, arXiv
// 2402.17764).
//
// A row x of n elements is normalised to x / (|x| sqrt(n)) and rounded to 8 bits, with 127 for its largest element; the
// matrix holds -1, 0 and 1 and is multiplied with one scale. Contract: rows become integers and a scale each, so
// that the product is a sum of integers, which is exact in float32 in whatever order it is added up (to a width of
// 2^17): a row's product does not depend on the rows beside it. Inference only.
//
// Rounding turns a difference in the last bit into one of a whole step where an element falls on the other side of a
// half. In float32 that happens in one row out of a few; so these models are computed in float64 around the products,
// where rows alone, in batches and in trees agree.
#pragma once

#include <ATen/core/Tensor.h>

namespace foretell::kernels {

struct QuantisedRows {
  at::Tensor values;  // [rows, width], integers from -127 to 127
  at::Tensor scales;  // [rows], float64: the normalised rows are values * scales
};

// x [rows, width] of any type; the values have `type`.
QuantisedRows quantise_rows(const at::Tensor& x, at::ScalarType type);
QuantisedRows quantise_rows_aten(const at::Tensor& x, at::ScalarType type);

// product [rows, out] times row_scales [rows] times output_scales [out], both float64, as `type`.
at::Tensor rescale(const at::Tensor& product, const at::Tensor& row_scales, const at::Tensor& output_scales,
                   at::ScalarType type);

}  // namespace foretell::kernels
