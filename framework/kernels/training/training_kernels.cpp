#include "framework/kernels/training/training_kernels.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "framework/core/cpu_clones.h"
#include "framework/kernels/fast_exp.h"

namespace foretell::kernels::training {
namespace {

FORETELL_CLONES float norm_row(const float* x, const float* y, const float* gain, std::int64_t width, float eps,
                               float* sum, float* normed) {
  float squares = 0;
  if (y) {
#pragma omp simd reduction(+ : squares)
    for (std::int64_t i = 0; i < width; ++i) {
      const float value = x[i] + y[i];
      sum[i] = value;
      squares += value * value;
    }
    x = sum;
  } else {
#pragma omp simd reduction(+ : squares)
    for (std::int64_t i = 0; i < width; ++i) squares += x[i] * x[i];
  }
  const float rstd = 1.0f / std::sqrt(squares / static_cast<float>(width) + eps);
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i) normed[i] = x[i] * rstd * gain[i];
  return rstd;
}

struct NormGradient {
  const float* sum;
  const float* d_sum;
  const float* d_normed;
  float* d_x;
  float* d_gain;
};

FORETELL_CLONES void norm_row_backward(const NormGradient& g, const float* gain, std::int64_t width, float rstd) {
  float dot = 0;
#pragma omp simd reduction(+ : dot)
  for (std::int64_t i = 0; i < width; ++i) dot += g.d_normed[i] * gain[i] * g.sum[i];
  const float along = dot * rstd * rstd * rstd / static_cast<float>(width);
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i) {
    g.d_x[i] = g.d_normed[i] * gain[i] * rstd - g.sum[i] * along;
    g.d_gain[i] += g.d_normed[i] * g.sum[i] * rstd;
  }
  if (!g.d_sum) return;
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i) g.d_x[i] += g.d_sum[i];
}

FORETELL_CLONES void silu_gate_row(const float* gate, const float* up, float* out, std::int64_t width) {
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i) out[i] = gate[i] / (1.0f + fast_exp(-gate[i])) * up[i];
}

FORETELL_CLONES void silu_gate_row_backward(const float* gate, const float* up, const float* d_out, float* d_gate,
                                            float* d_up, std::int64_t width) {
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i) {
    const float sigmoid = 1.0f / (1.0f + fast_exp(-gate[i]));
    d_up[i] = d_out[i] * gate[i] * sigmoid;
    d_gate[i] = d_out[i] * up[i] * sigmoid * (1.0f + gate[i] * (1.0f - sigmoid));
  }
}

// (a, b) -> (a cos - b sin, b cos + a sin) (Su et al. 2021, arXiv 2104.09864, equation 34); `direction` -1 turns back.
// in and out may be the same.
inline __attribute__((always_inline)) void rotate_head(const float* in, float* out, const HeadLayout& layout,
                                                       const RotaryView& rotary, std::int64_t row, float direction) {
  const std::int64_t step = layout.interleaved ? 2 : 1;
  const std::int64_t apart = layout.interleaved ? 1 : rotary.pairs;
  const float* cosines = rotary.cosines + row * rotary.pairs;
  const float* sines = rotary.sines + row * rotary.pairs;
#pragma omp simd
  for (std::int64_t i = 0; i < rotary.pairs; ++i) {
    const float a = in[i * step], b = in[i * step + apart];
    const float sine = direction * sines[i];
    out[i * step] = a * cosines[i] - b * sine;
    out[i * step + apart] = b * cosines[i] + a * sine;
  }
  if (in != out) std::copy(in + 2 * rotary.pairs, in + layout.head_dim, out + 2 * rotary.pairs);
}

FORETELL_CLONES void split_row(const HeadLayout& layout, const RotaryView& rotary, std::int64_t row, const float* qkv,
                               float* const* out) {
  const std::int64_t dim = layout.head_dim, group = layout.heads / layout.kv_heads;
  const float* keys = qkv + layout.heads * dim;
  const float* values = keys + layout.kv_heads * dim;
  for (std::int64_t h = 0; h < layout.heads; ++h) {
    rotate_head(qkv + h * dim, out[0] + h * dim, layout, rotary, row, 1);
    rotate_head(keys + h / group * dim, out[1] + h * dim, layout, rotary, row, 1);
    std::copy_n(values + h / group * dim, dim, out[2] + h * dim);
  }
}

FORETELL_CLONES void join_row(const HeadLayout& layout, const RotaryView& rotary, std::int64_t row,
                              const float* const* in, float* d_qkv) {
  const std::int64_t dim = layout.head_dim, group = layout.heads / layout.kv_heads;
  float* keys = d_qkv + layout.heads * dim;
  float* values = keys + layout.kv_heads * dim;
  for (std::int64_t h = 0; h < layout.heads; ++h)
    rotate_head(in[0] + h * dim, d_qkv + h * dim, layout, rotary, row, -1);
  for (std::int64_t h = 0; h < layout.kv_heads; ++h) {
    for (std::int64_t i = 0; i < dim; ++i) {
      float key = 0, value = 0;
      for (std::int64_t g = 0; g < group; ++g) {
        key += in[1][(h * group + g) * dim + i];
        value += in[2][(h * group + g) * dim + i];
      }
      keys[h * dim + i] = key;
      values[h * dim + i] = value;
    }
    rotate_head(keys + h * dim, keys + h * dim, layout, rotary, row, -1);
  }
}

}  // namespace

void norm_forward(const NormRows& shape, const float* x, const float* y, float eps, float* sum, float* normed,
                  float* rstd) {
  const std::int64_t width = shape.width;
  at::parallel_for(0, shape.rows, grain(width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t at = row * width;
      rstd[row] = norm_row(x + at, y ? y + at : nullptr, shape.gain, width, eps, sum ? sum + at : nullptr, normed + at);
    }
  });
}

void norm_backward(const NormRows& shape, const float* sum, const float* rstd, const float* d_sum,
                   const float* d_normed, float* d_x, float* d_gain) {
  const std::int64_t width = shape.width;
  std::vector<float> parts(static_cast<std::size_t>(at::get_num_threads() * width), 0.0f);
  at::parallel_for(0, shape.rows, grain(width), [&](std::int64_t begin, std::int64_t end) {
    float* part = parts.data() + at::get_thread_num() * width;
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t at = row * width;
      norm_row_backward({sum + at, d_sum ? d_sum + at : nullptr, d_normed + at, d_x + at, part}, shape.gain, width,
                        rstd[row]);
    }
  });
  std::fill_n(d_gain, width, 0.0f);
  for (std::size_t i = 0; i < parts.size(); ++i) d_gain[static_cast<std::int64_t>(i) % width] += parts[i];
}

void silu_gate_forward(std::int64_t rows, std::int64_t width, const float* x, float* out) {
  at::parallel_for(0, rows, grain(width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row)
      silu_gate_row(x + 2 * row * width, x + (2 * row + 1) * width, out + row * width, width);
  });
}

void silu_gate_backward(std::int64_t rows, std::int64_t width, const float* x, const float* d_out, float* d_x) {
  at::parallel_for(0, rows, grain(width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t gate = 2 * row * width, up = gate + width;
      silu_gate_row_backward(x + gate, x + up, d_out + row * width, d_x + gate, d_x + up, width);
    }
  });
}

void split_heads(const HeadLayout& layout, const RotaryView& rotary, const float* qkv, float* q, float* k, float* v) {
  const std::int64_t in = (layout.heads + 2 * layout.kv_heads) * layout.head_dim,
                     width = layout.heads * layout.head_dim;
  at::parallel_for(0, rotary.rows, grain(in), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      float* const out[] = {q + row * width, k + row * width, v + row * width};
      split_row(layout, rotary, row, qkv + row * in, out);
    }
  });
}

void join_heads_backward(const HeadLayout& layout, const RotaryView& rotary, const float* d_q, const float* d_k,
                         const float* d_v, float* d_qkv) {
  const std::int64_t out = (layout.heads + 2 * layout.kv_heads) * layout.head_dim,
                     width = layout.heads * layout.head_dim;
  at::parallel_for(0, rotary.rows, grain(out), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float* const in[] = {d_q + row * width, d_k + row * width, d_v + row * width};
      join_row(layout, rotary, row, in, d_qkv + row * out);
    }
  });
}

}  // namespace foretell::kernels::training
