// The operations of a decoder layer with a derivative: what kernels.h computes for inference.
//
// Contract: ATen operators and pure functions only, so autograd can go through them; nothing is written in place. Norms are in float32 and return
// x's type. A row is a token; rows of all sequences are concatenated.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "framework/model/files/model_config.h"
#include "framework/model/kernels.h"
#include "framework/model/trainable.h"

namespace foretell {

// The angles of a batch's rows, shared by all layers; undefined tensors without rotary embedding.
struct RotaryRows {
  at::Tensor cosines;  // float32 [rows, 1, rotary_dim / 2]
  at::Tensor sines;
};

at::Tensor rms_norm_training(const at::Tensor& x, const at::Tensor& gain, double eps);  // x [rows, width]

// Rotates queries and keys and attends within each sequence, causally. qkv [rows, (heads + 2 kv_heads) * head_dim] -> [rows, heads * head_dim].
at::Tensor attend_training(const at::Tensor& qkv, const HeadLayout& layout, const RotaryRows& rotary, std::span<const RowGroup> groups,
                           double scale);

at::Tensor activate_training(const at::Tensor& x, Activation activation);
// activation(gate) * up of x [rows, 2 * width], the gate first (Shazeer 2020, arXiv 2002.05202).
at::Tensor gated_training(const at::Tensor& x, Activation activation);

}  // namespace foretell
