#include "framework/core/vocab_ops.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "framework/core/cpu_clones.h"

#define FORETELL_INLINE inline __attribute__((always_inline))

namespace foretell {
namespace {

constexpr std::size_t kDoubles = 8;
using Doubles = double __attribute__((vector_size(kDoubles * sizeof(double))));

FORETELL_INLINE double sum_of_lanes(const Doubles& v) {
  return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

FORETELL_INLINE float higher(float a, float b) { return a > b ? a : b; }

// Four parts at a time: one maximum would wait for itself.
FORETELL_CLONES Peak highest_of_block(const float* values, std::size_t count) {
  const std::size_t part = count / 4;
  const float *second = values + part, *third = second + part, *fourth = third + part;
  float a = Peak{}.value, b = a, c = a, d = a;
  int nan = 0;
#pragma omp simd reduction(max : a, b, c, d) reduction(| : nan)
  for (std::size_t i = 0; i < part; ++i) {
    const float w = values[i], x = second[i], y = third[i], z = fourth[i];
    nan |= (w != w ? 1 : 0) | (x != x ? 1 : 0) | (y != y ? 1 : 0) | (z != z ? 1 : 0);
    a = w > a ? w : a;
    b = x > b ? x : b;
    c = y > c ? y : c;
    d = z > d ? z : d;
  }
  for (std::size_t i = 4 * part; i < count; ++i) {
    nan |= values[i] != values[i] ? 1 : 0;
    a = higher(values[i], a);
  }
  return {.value = higher(higher(a, b), higher(c, d)), .nan = nan != 0};
}

FORETELL_CLONES double sum_of_row(const double* values, std::size_t count) {
  Doubles sums[4] = {};
  std::size_t i = 0;
  for (; i + 4 * kDoubles <= count; i += 4 * kDoubles) {
#pragma GCC unroll 4
    for (std::size_t part = 0; part < 4; ++part) {
      Doubles x;
      std::memcpy(&x, values + i + part * kDoubles, sizeof x);
      sums[part] += x;
    }
  }
  double sum = sum_of_lanes((sums[0] + sums[1]) + (sums[2] + sums[3]));
  for (; i < count; ++i) sum += values[i];
  return sum;
}

FORETELL_CLONES void scale_row(double* values, std::size_t count, double factor) {
#pragma omp simd
  for (std::size_t i = 0; i < count; ++i) values[i] *= factor;
}

// x = n ln 2 + r, e^r by its series; n is read off the low bits of a sum that rounds to it.
FORETELL_INLINE double exponential(double x) {
  constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52
  constexpr double kLeast = -708.0;
  const double held = x < kLeast ? kLeast : x;
  const double shifted = held * 1.4426950408889634 + kRound, n = shifted - kRound;
  const double r = (held - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
  double p = 1.0 / 479001600;
  p = p * r + 1.0 / 39916800;
  p = p * r + 1.0 / 3628800;
  p = p * r + 1.0 / 362880;
  p = p * r + 1.0 / 40320;
  p = p * r + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  std::int64_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 1023) << 52;
  double power;
  std::memcpy(&power, &bits, sizeof power);
  return x < kLeast ? 0.0 : p * power;
}

FORETELL_CLONES void exponentials_of_row(const float* logits, std::size_t count, double top, double factor,
                                         double* out) {
#pragma omp simd
  for (std::size_t i = 0; i < count; ++i) out[i] = exponential((logits[i] - top) * factor);
}

FORETELL_CLONES void positive_part_of_row(const double* p, const double* q, std::size_t count, double weight,
                                          double* out) {
#pragma omp simd
  for (std::size_t i = 0; i < count; ++i) out[i] = std::max(weight * p[i] - q[i], 0.0);
}

}  // namespace

Peak peak_of(std::span<const float> values) {
  Peak best;
  std::size_t block = 0;
  for (std::size_t first = 0; first < values.size(); first += kRowBlock) {
    const Peak peak = highest_of_block(values.data() + first, std::min(kRowBlock, values.size() - first));
    best.nan = best.nan || peak.nan;
    if (!(peak.value > best.value)) continue;
    best.value = peak.value;
    block = first;
  }
  const auto end = values.begin() + static_cast<std::ptrdiff_t>(std::min(block + kRowBlock, values.size()));
  const auto found = std::find(values.begin() + static_cast<std::ptrdiff_t>(block), end, best.value);
  if (found != end) best.index = static_cast<std::size_t>(found - values.begin());
  return best;
}

double sum_of(std::span<const double> values) { return sum_of_row(values.data(), values.size()); }

void scale(std::span<double> values, double factor) { scale_row(values.data(), values.size(), factor); }

void exponentials(std::span<const float> logits, double top, double factor, std::span<double> out) {
  exponentials_of_row(logits.data(), logits.size(), top, factor, out.data());
}

double positive_part(std::span<const double> p, std::span<const double> q, double weight, std::span<double> out) {
  positive_part_of_row(p.data(), q.data(), p.size(), weight, out.data());
  return sum_of(out);
}

std::size_t pick_index(std::span<const double> weights, double mass) {
  double left = mass;
  std::size_t first = 0;
  for (; weights.size() - first > kRowBlock; first += kRowBlock) {
    const double block = sum_of(weights.subspan(first, kRowBlock));
    if (left < block) break;
    left -= block;
  }
  for (std::size_t i = first; i < weights.size(); ++i)
    if (weights[i] > 0 && (left -= weights[i]) < 0) return i;
  std::size_t last = weights.size() - 1;  // rounding can leave a sliver after the last weight
  while (last > 0 && !(weights[last] > 0)) --last;
  return last;
}

}  // namespace foretell
