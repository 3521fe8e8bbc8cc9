#include "framework/measurement/arithmetic_peak.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_int_mm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <c10/util/Exception.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <atomic>
#include <functional>

#include "framework/core/cpu_clones.h"
#include "framework/core/stopwatch.h"
#include "framework/kernels/lanes.h"
#include "framework/kernels/worker_threads.h"

namespace foretell::measurement {
namespace {

constexpr int kSums = 12;  // independent ones: two instructions a cycle of six cycles each
constexpr int kLoopTurns = 4096;
constexpr int kMatrix = 1024;
constexpr int kRegions = 2000;

// Each returns something of its sums, so that they have to be computed.
FORETELL_CLONES float multiply_floats() {
  kernels::Lanes sums[kSums] = {}, factor = {}, summand = {};
  factor += 0.5F;
  summand += 1.0F;
  for (int turn = 0; turn < kLoopTurns; ++turn) {
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) sums[i] = sums[i] * factor + summand;
  }
  for (int i = 1; i < kSums; ++i) sums[0] += sums[i];
  return sums[0][0];
}

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512bf16"))) float multiply_bfloats() {
  __m512 sums[kSums] = {};
  const auto factors = reinterpret_cast<__m512bh>(_mm512_set1_epi32(0x3f803f80));  // ones
  for (int turn = 0; turn < kLoopTurns; ++turn) {
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) sums[i] = _mm512_dpbf16_ps(sums[i], factors, factors);
  }
  for (int i = 1; i < kSums; ++i) sums[0] = _mm512_add_ps(sums[0], sums[i]);
  return sums[0][0];
}

__attribute__((target("avx512f,avx512vnni"))) float multiply_bytes() {
  __m512i sums[kSums] = {};
  const __m512i factors = _mm512_set1_epi8(1);
  for (int turn = 0; turn < kLoopTurns; ++turn) {
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) sums[i] = _mm512_dpbusd_epi32(sums[i], factors, factors);
  }
  for (int i = 1; i < kSums; ++i) sums[0] = _mm512_add_epi32(sums[0], sums[i]);
  return static_cast<float>(sums[0][0]);
}
#endif

// Operations per second of all threads, the best of repeats that take `seconds` together.
double best_rate(double operations, double seconds, const std::function<void()>& once) {
  double best = 0;
  const Stopwatch all;
  do {
    const Stopwatch watch;
    once();
    best = std::max(best, operations / (static_cast<double>(watch.elapsed_ns()) * 1e-9));
  } while (static_cast<double>(all.elapsed_ns()) * 1e-9 < seconds);
  return best;
}

// `products`: pairs of factors that one instruction takes.
double loop_rate(int products, double seconds, float (*loop)()) {
  constexpr int kLoops = 16;
  const int threads = at::get_num_threads();
  std::atomic<float> sink = 0;
  return best_rate(2.0 * products * kSums * kLoopTurns * kLoops * threads, seconds, [&] {
    kernels::on_each_thread(threads, [&](int) {
      for (int i = 0; i < kLoops; ++i) sink = loop();
    });
  });
}

double product_rate(double seconds, const std::function<at::Tensor()>& product) {
  product();
  return best_rate(2.0 * kMatrix * kMatrix * kMatrix, seconds, [&] { product(); });
}

std::optional<double> float_product_rate(at::ScalarType type, double seconds) {
  const at::Tensor a = at::ones({kMatrix, kMatrix}, type), b = at::ones({kMatrix, kMatrix}, type);
  return product_rate(seconds, [&] { return at::matmul(a, b); });
}

std::optional<double> integer_product_rate(double seconds) {
  const at::Tensor a = at::ones({kMatrix, kMatrix}, at::kChar), b = at::ones({kMatrix, kMatrix}, at::kChar);
  try {
    return product_rate(seconds, [&] { return at::_int_mm(a, b); });
  } catch (const c10::Error&) {  // not in every build of LibTorch
    return std::nullopt;
  }
}

}  // namespace

std::optional<double> ArithmeticPeak::best() const {
  if (!registers || !matrix_product) return registers ? registers : matrix_product;
  return std::max(*registers, *matrix_product);
}

std::vector<ArithmeticPeak> measure_arithmetic_peaks(double seconds) {
  ArithmeticPeak floats{.format = "fp32"}, bfloats{.format = "bf16"}, bytes{.format = "int8"};
  floats.registers = loop_rate(kernels::kLanes, seconds, multiply_floats);
  floats.instruction = "fma";
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512bf16")) {
    bfloats.registers = loop_rate(32, seconds, multiply_bfloats);
    bfloats.instruction = "vdpbf16ps";
  }
  if (__builtin_cpu_supports("avx512vnni")) {
    bytes.registers = loop_rate(64, seconds, multiply_bytes);
    bytes.instruction = "vpdpbusd";
  }
#endif
  floats.matrix_product = float_product_rate(at::kFloat, seconds);
  bfloats.matrix_product = float_product_rate(at::kBFloat16, seconds);
  bytes.matrix_product = integer_product_rate(seconds);
  return {floats, bfloats, bytes};
}

double parallel_region_seconds(int threads) {
  std::vector<double> seconds(kRegions);
  for (double& of : seconds) {
    const Stopwatch watch;
    kernels::on_each_thread(threads, [](int) {});
    of = static_cast<double>(watch.elapsed_ns()) * 1e-9;
  }
  std::nth_element(seconds.begin(), seconds.begin() + kRegions / 2, seconds.end());
  return seconds[kRegions / 2];
}

}  // namespace foretell::measurement
