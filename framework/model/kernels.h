// The small operations between the matrices of a decoder layer.
//
// Contract: for inference only (some write in place). On the CPU each is one pass over its rows without temporaries, because at few rows an eager
// operator costs more than its arithmetic; on other devices, for float64, and under ATen's name here, the same in ATen operators. Arithmetic is in
// float32 and rounded once to the rows' type; that of float64 rows is in float64.
#pragma once

#include <ATen/core/Tensor.h>

#include "framework/model/batch_plan.h"
#include "framework/model/files/model_config.h"

namespace foretell {

// x / sqrt(mean(x^2) + eps) * gain (Zhang and Sennrich 2019, arXiv 1910.07467); the quotient is rounded to x's type before it is multiplied, as the
// checkpoints' own code does. x [rows, width], gain [width].
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& gain, double eps);
at::Tensor rms_norm_aten(const at::Tensor& x, const at::Tensor& gain, double eps);

// The same in place for each of `count` parts of every row, which lie side by side from column `first` on, each as wide as the gain.
void rms_norm_parts(const at::Tensor& x, std::int64_t first, std::int64_t count, const at::Tensor& gain, double eps);
void rms_norm_parts_aten(const at::Tensor& x, std::int64_t first, std::int64_t count, const at::Tensor& gain, double eps);

// How the columns of a fused query-key-value matrix are divided, and what a layer's rows see.
struct HeadLayout {
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;          // of queries and keys
  bool interleaved = false;  // rotary pairs are neighbours, else one from each half of the rotated part
  int other_value_dim = 0;   // of values, if not head_dim
  int rotary_first = 0;      // of a head's elements the first that is rotated
  bool windowed = false;     // rows see what is in their window

  int value_dim() const { return other_value_dim > 0 ? other_value_dim : head_dim; }
  std::int64_t width() const { return std::int64_t{heads + kv_heads} * head_dim + std::int64_t{kv_heads} * value_dim(); }
};

// What the item's rows see in a layer of this layout.
inline const SeenRows& seen_in_layer(const ItemPlan& item, const HeadLayout& layout) {
  return layout.windowed && item.windowed ? *item.windowed : item.seen;
}

// Turns queries and keys of qkv [rows, layout.width()] in place by the plan's angles (if it has any) and writes keys and values into
// the items' caches at `layer`.
void rotate_and_store(const at::Tensor& qkv, const HeadLayout& layout, const BatchPlan& plan, int layer);
void rotate_and_store_aten(const at::Tensor& qkv, const HeadLayout& layout, const BatchPlan& plan, int layer);

// In place; returns x.
at::Tensor activate(at::Tensor x, Activation activation);

}  // namespace foretell
