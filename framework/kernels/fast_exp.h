// An exponential that compilers turn into vector code.
//
// Contract: float32, to about two units in the last place between -87 and 88; beyond, the value at the border. NaN
// stays NaN.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace foretell::kernels {

// x = n ln 2 + r, e^r by its series.
inline __attribute__((always_inline)) float fast_exp(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  x = std::min(std::max(x, -87.0f), 88.0f);
  const float n = (x * 1.44269504f + kRound) - kRound;
  const float r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
  float p = 1.98412698e-4f;
  p = p * r + 1.38888889e-3f;
  p = p * r + 8.33333333e-3f;
  p = p * r + 4.16666667e-2f;
  p = p * r + 1.66666667e-1f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const std::int32_t bits = (static_cast<std::int32_t>(n) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
}

}  // namespace foretell::kernels
