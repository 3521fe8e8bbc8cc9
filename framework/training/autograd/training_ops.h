// The operations of a decoder layer with a derivative: what kernels.h computes for inference.
//
// Contract: nothing is written in place, and autograd can go through all of them. float32 on the CPU takes one pass
// over memory forward and one backward (training_kernels.h): between the matrices, memory is what costs. Anything else
// (bfloat16, other devices, other activations) is put together from ATen's operators. Norms are in float32 and return
// x's type. Rows of all sequences are concatenated.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "framework/formats/model_config.h"
#include "framework/kernels/kernels.h"
#include "framework/kernels/training/distill_mix.h"
#include "framework/training/autograd/trainable.h"

namespace foretell::autograd {

// The angles of a batch's rows, shared by all layers; undefined tensors without rotary embedding.
struct RotaryRows {
  at::Tensor cosines;  // float32 [rows, 1, rotary_dim / 2]
  at::Tensor sines;
};

// float32, of rows at these positions (model/rope.h); without frequencies there are none.
RotaryRows rotary_rows(const at::Tensor& positions, const std::vector<double>& frequencies, double magnitude,
                       at::Device device);

// heads [rows, n, head_dim], their pairs turned by the rows' angles (kernels.h's rotate_head()).
at::Tensor rotated_training(const at::Tensor& heads, const RotaryRows& rotary, bool interleaved);

at::Tensor rms_norm_training(const at::Tensor& x, const at::Tensor& gain, double eps);  // x [rows, width]

struct SumAndNorm {
  at::Tensor sum, normed;
};
// x + y, and its norm: what stands between two sublayers.
SumAndNorm add_norm_training(const at::Tensor& x, const at::Tensor& y, const at::Tensor& gain, double eps);

// How the rows of a batch attend.
struct TrainingAttention {
  kernels::HeadLayout layout;
  RotaryRows rotary;
  std::vector<RowGroup> groups;
  double scale = 1;
};

// Rotates queries and keys and attends within each sequence, causally or as its group's bias says. qkv [rows, (heads +
// 2 kv_heads) * head_dim] -> [rows, heads * head_dim].
at::Tensor attend_training(const at::Tensor& qkv, const TrainingAttention& attention);
at::Tensor attend_training_aten(const at::Tensor& qkv, const TrainingAttention& attention);

// A step of drafts that go on from their own states, one behind every row at once: what row t is in step 0 (its draft's
// start) and in the steps behind.
struct UnrolledStep {
  at::Tensor qkv;  // as attend_training()'s
  RotaryRows rotary;
};
// The attention of the newest step: row t sees the rows of step 0 up to t, and of the later ones row t alone.
// `attention.rotary` is not read.
at::Tensor attend_unrolled_training(const std::vector<UnrolledStep>& steps, const TrainingAttention& attention);

at::Tensor activate_training(const at::Tensor& x, Activation activation);
// activation(gate) * up of x [rows, 2 * width], the gate first (Shazeer 2020, arXiv 2002.05202).
at::Tensor gated_training(const at::Tensor& x, Activation activation);

// The sum over rows of weights[row] * cross-entropy of (state W^T)[row] and targets[row]. state [n, hidden], head
// [vocab, hidden]; a scalar. The logits of a few rows at a time are in memory, never all of them.
at::Tensor head_loss_training(const at::Tensor& state, const at::Tensor& head, const at::Tensor& targets,
                              const at::Tensor& weights);

struct DistillLoss {
  at::Tensor total;                       // a scalar: the mix
  kernels::training::DistillTerms terms;  // its parts
};
// The same with a teacher: its states and its head stand beside the student's, row by row, over one vocabulary. No
// derivative goes to the teacher.
struct Teacher {
  at::Tensor state, head;
};
DistillLoss distill_loss_training(const at::Tensor& state, const at::Tensor& head, const at::Tensor& targets,
                                  const at::Tensor& weights, const Teacher& teacher,
                                  const kernels::training::DistillMix& mix);

}  // namespace foretell::autograd
