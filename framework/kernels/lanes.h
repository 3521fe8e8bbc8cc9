// Sixteen floats at a time, in the instructions that the calling function is compiled for (cpu_clones.h).
//
// Contract: everything is inlined into its caller. bfloat16 is widened when it is loaded.
#pragma once

#include <c10/util/BFloat16.h>

#include <cstdint>
#include <cstring>

#define FORETELL_INLINE inline __attribute__((always_inline))

namespace foretell::kernels {

constexpr int kLanes = 16;

using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));

FORETELL_INLINE void load(const float* from, Lanes& to) { std::memcpy(&to, from, sizeof to); }
FORETELL_INLINE void load(const at::BFloat16* from, Lanes& to) {
  using Words = std::uint32_t __attribute__((vector_size(kLanes * sizeof(std::uint32_t))));
  using Halves = std::uint16_t __attribute__((vector_size(kLanes * sizeof(std::uint16_t))));
  Halves halves;
  std::memcpy(&halves, from, sizeof halves);
  const Words words = __builtin_convertvector(halves, Words) << 16;
  std::memcpy(&to, &words, sizeof to);
}
FORETELL_INLINE void store(float* to, const Lanes& from) { std::memcpy(to, &from, sizeof from); }

FORETELL_INLINE double load_one(const double* from) { return *from; }
FORETELL_INLINE float load_one(const float* from) { return *from; }
FORETELL_INLINE float load_one(const at::BFloat16* from) {
  const std::uint32_t bits = std::uint32_t{from->x} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// To the nearest, ties to even. NaN stays NaN because its high bits survive the carry of any payload that hardware
// makes.
FORETELL_INLINE std::uint16_t bfloat16_bits(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
FORETELL_INLINE void store_one(double* to, double value) { *to = value; }
FORETELL_INLINE void store_one(float* to, float value) { *to = value; }
FORETELL_INLINE void store_one(at::BFloat16* to, float value) { to->x = bfloat16_bits(value); }

FORETELL_INLINE void store(at::BFloat16* to, const Lanes& from) {
  using Words = std::uint32_t __attribute__((vector_size(kLanes * sizeof(std::uint32_t))));
  using Halves = std::uint16_t __attribute__((vector_size(kLanes * sizeof(std::uint16_t))));
  Words words;
  std::memcpy(&words, &from, sizeof words);
  const Halves halves = __builtin_convertvector((words + 0x7fff + ((words >> 16) & 1)) >> 16, Halves);
  std::memcpy(to, &halves, sizeof halves);
}

// Halves are added to halves: one lane after the other would take as long as a short row's products.
FORETELL_INLINE float sum_of_lanes(const Lanes& v) {
  using Lanes8 = float __attribute__((vector_size(32)));
  using Lanes4 = float __attribute__((vector_size(16)));
  const Lanes8 eight = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                       __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  const Lanes4 four =
      __builtin_shufflevector(eight, eight, 0, 1, 2, 3) + __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
  const Lanes4 two = four + __builtin_shufflevector(four, four, 2, 3, 0, 1);
  return two[0] + two[1];
}

// Lane i of `sums` is the sum of v[i]'s lanes: a third of the work of sixteen sums one by one.
FORETELL_INLINE void sums_of_lanes(const Lanes (&v)[kLanes], Lanes& sums) {
  Lanes a[8], b[4];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    const Lanes &x = v[2 * i], &y = v[2 * i + 1];
    a[i] = __builtin_shufflevector(x, y, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30) +
           __builtin_shufflevector(x, y, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const Lanes &x = a[2 * i], &y = a[2 * i + 1];
    b[i] = __builtin_shufflevector(x, y, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
           __builtin_shufflevector(x, y, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const Lanes &x = b[2 * i], &y = b[2 * i + 1];
    a[i] = __builtin_shufflevector(x, y, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27) +
           __builtin_shufflevector(x, y, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
  }
  sums = __builtin_shufflevector(a[0], a[1], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
         __builtin_shufflevector(a[0], a[1], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
}

}  // namespace foretell::kernels
