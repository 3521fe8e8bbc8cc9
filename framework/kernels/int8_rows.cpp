#include "framework/kernels/int8_rows.h"

#include <algorithm>
#include <cmath>

#include "framework/core/cpu_clones.h"
#include "framework/kernels/lanes.h"

namespace foretell::kernels {
namespace {

constexpr float kMostInt8 = 127;
constexpr float kToInteger = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer

template <class T>
FORETELL_INLINE float round_row(const T* row, std::int64_t width, std::int8_t* to) {
  float largest = 0, sum = 0;  // the sum is for NaN, which no maximum keeps
#pragma omp simd reduction(max : largest) reduction(+ : sum)
  for (std::int64_t i = 0; i < width; ++i) {
    const float size = std::fabs(load_one(row + i));
    largest = size > largest ? size : largest;
    sum += size * 0.0f;
  }
  const float scale = (largest + sum) / kMostInt8;
  if (!(scale > 0) || !std::isfinite(scale)) {
    std::fill_n(to, width, std::int8_t{0});
    return scale;
  }
  const float inverse = kMostInt8 / largest;
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i) {
    const float rounded = (std::clamp(load_one(row + i) * inverse, -kMostInt8, kMostInt8) + kToInteger) - kToInteger;
    to[i] = static_cast<std::int8_t>(static_cast<std::int32_t>(rounded));
  }
  return scale;
}

FORETELL_CLONES float round_f32(const float* row, std::int64_t width, std::int8_t* to) {
  return round_row(row, width, to);
}
FORETELL_CLONES float round_bf16(const at::BFloat16* row, std::int64_t width, std::int8_t* to) {
  return round_row(row, width, to);
}

}  // namespace

float round_to_int8(const float* row, std::int64_t width, std::int8_t* to) { return round_f32(row, width, to); }
float round_to_int8(const at::BFloat16* row, std::int64_t width, std::int8_t* to) { return round_bf16(row, width, to); }

}  // namespace foretell::kernels
