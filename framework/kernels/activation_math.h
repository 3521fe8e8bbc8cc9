// The activations of MLPs in float32, as code that compilers turn into vectors.
//
// Contract: to about 2e-7 of the larger of 1 and |x|. Each element's value depends on nothing else.
#pragma once

#include <algorithm>
#include <cmath>

#include "framework/core/activation.h"
#include "framework/kernels/fast_exp.h"

namespace foretell::kernels {

// The normal distribution function by Abramowitz and Stegun 1964, 7.1.26, with both tails small numbers of their own.
inline __attribute__((always_inline)) float normal_cdf(float x) {
  const float z = std::fabs(x) * 0.70710678f, t = 1.0f / (1.0f + 0.3275911f * z);
  const float p =
      t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
  const float tail = 0.5f * p * fast_exp(-z * z);
  return x < 0 ? tail : 1.0f - tail;
}

// A template, so that a loop has no question in it.
template <Activation kActivation>
inline __attribute__((always_inline)) float activated(float x) {
  if constexpr (kActivation == Activation::Silu) return x / (1.0f + fast_exp(-x));
  if constexpr (kActivation == Activation::Gelu) return x * normal_cdf(x);
  // (1 + tanh u) / 2 = 1 / (1 + e^-2u).
  if constexpr (kActivation == Activation::GeluTanh)
    return x / (1.0f + fast_exp(-1.59576912f * (x + 0.044715f * x * x * x)));
  if constexpr (kActivation == Activation::Relu) return std::max(x, 0.0f);
}

}  // namespace foretell::kernels
