#include "framework/kernels/product_output.h"

#include <algorithm>

#include "framework/core/cpu_clones.h"
#include "framework/kernels/activation_math.h"

namespace foretell::kernels {
namespace {

using at::BFloat16;

template <Activation kActivation>
FORETELL_INLINE void gate_by(const float* gates, const float* others, float* out) {
#pragma omp simd
  for (int i = 0; i < kLanes; ++i) out[i] = activated<kActivation>(gates[i]) * others[i];
}

FORETELL_INLINE void gate(const float* gates, const float* others, Activation activation, float* out) {
  switch (activation) {
    case Activation::Silu: return gate_by<Activation::Silu>(gates, others, out);
    case Activation::Gelu: return gate_by<Activation::Gelu>(gates, others, out);
    case Activation::GeluTanh: return gate_by<Activation::GeluTanh>(gates, others, out);
    case Activation::Relu: return gate_by<Activation::Relu>(gates, others, out);
  }
}

FORETELL_INLINE void scale_and_bias(const Output& output, std::int64_t number, std::int64_t known, float* sums) {
  if (known == kPanel) {
    Lanes values, other;
    load(sums, values);
    if (output.scales) {
      load(output.scales + number, other);
      values = values * other;
    }
    if (output.bias) {
      load(output.bias + number, other);
      values = values + other;
    }
    return store(sums, values);
  }
  for (std::int64_t i = 0; output.scales && i < known; ++i) sums[i] *= output.scales[number + i];
  for (std::int64_t i = 0; output.bias && i < known; ++i) sums[i] += output.bias[number + i];
}

// Two panels' sums with a row. In a gated matrix they are sixteen gates and the sixteen that they are multiplied with.
template <class T>
FORETELL_INLINE void finish_pair(const Output& output, std::int64_t pair, float* const (&sums)[2], T* y) {
  const bool gated = output.kind == Output::Kind::Gate, adds = output.kind == Output::Kind::Add;
  const std::int64_t first = pair * (gated ? kPanel : 2 * kPanel);
  const std::int64_t apart = gated ? output.outputs / 2 : kPanel;  // of output numbers, from one panel to the other
  for (int p = 0; p < 2 && (output.scales || output.bias); ++p) {
    const std::int64_t number = first + p * apart;
    const std::int64_t known = std::min<std::int64_t>(kPanel, gated ? output.width - first : output.outputs - number);
    scale_and_bias(output, number, known, sums[p]);
  }
  if (gated) gate(sums[0], sums[1], output.activation, sums[0]);
  for (int p = 0; p < (gated ? 1 : 2); ++p) {
    const std::int64_t count = std::min<std::int64_t>(kPanel, output.width - first - p * kPanel);
    T* to = y + first + p * kPanel;
    if (count == kPanel) {
      Lanes values, before;
      load(sums[p], values);
      if (adds) {
        load(to, before);
        values = before + values;
      }
      store(to, values);
      continue;
    }
    for (std::int64_t i = 0; i < count; ++i) store_one(to + i, adds ? load_one(to + i) + sums[p][i] : sums[p][i]);
  }
}

// Of `used` rows the sums with a group of panels: [panels][rows][16].
template <class T>
FORETELL_INLINE void finish_rows(const Output& output, std::int64_t group, int used, int rows, float* sums, T* y) {
  for (int r = 0; r < used; ++r, y += output.width) {
    for (int p = 0; p < kGroup; p += 2)
      finish_pair(output, (group * kGroup + p) / 2,
                  {sums + (p * rows + r) * kPanel, sums + ((p + 1) * rows + r) * kPanel}, y);
  }
}

FORETELL_CLONES void finish_f32(const Output& output, std::int64_t group, int used, int rows, float* sums, float* y) {
  finish_rows(output, group, used, rows, sums, y);
}
FORETELL_CLONES void finish_bf16(const Output& output, std::int64_t group, int used, int rows, float* sums,
                                 BFloat16* y) {
  finish_rows(output, group, used, rows, sums, y);
}

}  // namespace

void finish(const Output& output, std::int64_t group, int used, int rows, float* sums, float* y) {
  finish_f32(output, group, used, rows, sums, y);
}
void finish(const Output& output, std::int64_t group, int used, int rows, float* sums, BFloat16* y) {
  finish_bf16(output, group, used, rows, sums, y);
}

}  // namespace foretell::kernels
