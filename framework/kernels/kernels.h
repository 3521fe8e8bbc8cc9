// The small operations between the matrices of a decoder layer.
//
// Contract: for inference only (some write in place). On the CPU each is one pass over its rows without temporaries,
// because at few rows an eager operator costs more than its arithmetic; on other devices, and under ATen's name here,
// the same in ATen operators. Arithmetic is in float32 and rounded once to the rows' type; that of float64 rows is in
// float64. On the CPU a row's result does not depend on the rows beside it, to the bit: ATen's operators compute the
// last elements of a piece of memory, wherever they are in a row, in other ways than those before.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "framework/core/activation.h"
#include "framework/kernels/head_layout.h"

namespace foretell::kernels {

// x / sqrt(mean(x^2) + eps) * gain (Zhang and Sennrich 2019, arXiv 1910.07467); the quotient is rounded to x's type
// before it is multiplied, as the checkpoints' own code does. x [rows, width], gain [width].
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& gain, double eps);
at::Tensor rms_norm_aten(const at::Tensor& x, const at::Tensor& gain, double eps);

// The same in place for each of `count` parts of every row, which lie side by side from column `first` on, each as wide
// as the gain.
void rms_norm_parts(const at::Tensor& x, std::int64_t first, std::int64_t count, const at::Tensor& gain, double eps);
void rms_norm_parts_aten(const at::Tensor& x, std::int64_t first, std::int64_t count, const at::Tensor& gain,
                         double eps);

// Rows of a forward pass and where their keys and values go: rows [offset, offset + rows) of the batch into rows start,
// start + 1, ... of a cache, or into those that are listed.
struct StoredRows {
  int offset = 0;
  int rows = 0;
  int start = 0;
  at::Tensor keys;    // [kv_heads, capacity, head_dim]
  at::Tensor values;  // [kv_heads, capacity, value_dim]
  std::span<const int> cache_rows = {};
  at::Tensor key_scales = {},
             value_scales = {};  // float32 [kv_heads, capacity]: the caches are int8 (attention_panels.h)

  int cache_row(int row) const { return cache_rows.empty() ? start + row : cache_rows[static_cast<std::size_t>(row)]; }
};

// Rotates queries and keys of qkv [rows, layout.width()] in place by the angles [rows, rotated pairs] (undefined: not
// at all) and writes keys and values to the caches, which are of the rows' type or, on the CPU, int8.
void rotate_and_store(const at::Tensor& qkv, const HeadLayout& layout, const at::Tensor& cosines,
                      const at::Tensor& sines, std::span<const StoredRows> items);
void rotate_and_store_aten(const at::Tensor& qkv, const HeadLayout& layout, const at::Tensor& cosines,
                           const at::Tensor& sines, std::span<const StoredRows> items);

// The same on the CPU for a part of a row, for whoever has a parallel region of his own.
void rms_norm_row(const float* x, const float* gain, float* out, std::int64_t width, float eps);
void rms_norm_row(const at::BFloat16* x, const at::BFloat16* gain, at::BFloat16* out, std::int64_t width, float eps);
struct Angles {
  const float* cosines;
  const float* sines;
  std::int64_t pairs;
  bool interleaved;
};
// Rotates `count` heads side by side, each `dim` wide, whose rotated parts begin at `first`.
void rotate_heads(float* first, int count, std::int64_t dim, const Angles& angles);
void rotate_heads(at::BFloat16* first, int count, std::int64_t dim, const Angles& angles);

// In place; returns x [rows, width].
at::Tensor activate(at::Tensor x, Activation activation);
at::Tensor activate_aten(at::Tensor x, Activation activation);

// 1 / (1 + e^-x), of few elements.
at::Tensor sigmoid(const at::Tensor& x);

}  // namespace foretell::kernels
