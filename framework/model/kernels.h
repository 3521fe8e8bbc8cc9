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

// How the columns of a fused query-key-value matrix are divided.
struct HeadLayout {
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  bool interleaved = false;  // rotary pairs are neighbours, else one from each half of the rotated part
};

// Turns queries and keys of qkv [rows, (heads + 2 kv_heads) * head_dim] in place by the plan's angles (if it has any) and writes keys and values into
// the items' caches at `layer`.
void rotate_and_store(const at::Tensor& qkv, const HeadLayout& layout, const BatchPlan& plan, int layer);
void rotate_and_store_aten(const at::Tensor& qkv, const HeadLayout& layout, const BatchPlan& plan, int layer);

// In place; returns x.
at::Tensor activate(at::Tensor x, Activation activation);

}  // namespace foretell
