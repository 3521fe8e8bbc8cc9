// Loops over rows for training on the CPU, forward and backward: float32 and nothing else.
//
// Contract: pointers to dense rows; threads share rows out in equal blocks, so results depend on the number of threads
// and on nothing else. Sums over rows (the derivative of a gain) are taken block by block in the blocks' order.
#pragma once

#include <algorithm>
#include <cstdint>

#include "framework/kernels/kernels.h"
#include "framework/kernels/training/distill_mix.h"

namespace foretell::kernels::training {

// Rows of `width` that one thread takes at least: below, starting threads costs more than it saves.
inline std::int64_t grain(std::int64_t width) {
  return std::max<std::int64_t>(1, 32768 / std::max<std::int64_t>(1, width));
}

// sum = x + y if y is given, else x itself is meant; normed = sum * rstd * gain, rstd = 1 / sqrt(mean(sum^2) + eps).
struct NormRows {
  std::int64_t rows = 0, width = 0;
  const float* gain = nullptr;
};
void norm_forward(const NormRows& shape, const float* x, const float* y, float eps, float* sum, float* normed,
                  float* rstd);
// d_sum: what comes in through the sum itself, or nullptr. d_x is the derivative of x and of y.
void norm_backward(const NormRows& shape, const float* sum, const float* rstd, const float* d_sum,
                   const float* d_normed, float* d_x, float* d_gain);

void silu_gate_forward(std::int64_t rows, std::int64_t width, const float* x, float* out);
void silu_gate_backward(std::int64_t rows, std::int64_t width, const float* x, const float* d_out, float* d_x);

struct RotaryView {
  std::int64_t rows = 0, pairs = 0;  // 0 pairs: nothing is rotated
  const float* cosines = nullptr;    // [rows, pairs]
  const float* sines = nullptr;
};
// Splits and rotates; every query head gets a copy of its key and value head. q, k, v [rows, heads * head_dim].
void split_heads(const HeadLayout& layout, const RotaryView& rotary, const float* qkv, float* q, float* k, float* v);
void join_heads_backward(const HeadLayout& layout, const RotaryView& rotary, const float* d_q, const float* d_k,
                         const float* d_v, float* d_qkv);

// Each row of logits becomes weight * (softmax - one at the target); returns the weighted sum of the cross-entropies.
double cross_entropy_rows(std::int64_t rows, std::int64_t vocab, float* logits, const std::int64_t* targets,
                          const float* weights);

struct DistillRows {
  std::int64_t rows = 0, vocab = 0;
  const float* teacher = nullptr;  // logits
  const std::int64_t* targets = nullptr;
  const float* weights = nullptr;
};
// Each row of the student's logits becomes the derivative of weight * (the mix of losses); returns the weighted sum of
// each loss.
DistillTerms distill_rows(const DistillRows& shape, const DistillMix& mix, float* logits);

}  // namespace foretell::kernels::training
