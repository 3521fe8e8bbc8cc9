#include "framework/model/direct_product.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "framework/model/cpu_clones.h"

namespace foretell {
namespace {

using at::BFloat16;

constexpr int kLanes = 16;
constexpr int kRows = 8;                       // rows of x that share one reading
constexpr int kOutputs = 4;                    // weight rows that are read side by side, at most
constexpr std::int64_t kSerialWork = 1 << 17;  // multiplications below which a second thread is not worth its start

using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));
using Words = std::uint32_t __attribute__((vector_size(kLanes * sizeof(std::uint32_t))));
using Halves = std::uint16_t __attribute__((vector_size(kLanes * sizeof(std::uint16_t))));

#define FORETELL_INLINE inline __attribute__((always_inline))

FORETELL_INLINE void load(const float* from, Lanes& to) { std::memcpy(&to, from, sizeof to); }
FORETELL_INLINE void load(const BFloat16* from, Lanes& to) {
  Halves halves;
  std::memcpy(&halves, from, sizeof halves);
  const Words words = __builtin_convertvector(halves, Words) << 16;
  std::memcpy(&to, &words, sizeof to);
}
FORETELL_INLINE float load_one(const float* from) { return *from; }
FORETELL_INLINE float load_one(const BFloat16* from) { return static_cast<float>(*from); }

// Halves are added to halves: one lane after the other would take as long as a short row's products.
FORETELL_INLINE float sum_of_lanes(const Lanes& v) {
  using Lanes8 = float __attribute__((vector_size(32)));
  using Lanes4 = float __attribute__((vector_size(16)));
  const Lanes8 eight = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) + __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  const Lanes4 four = __builtin_shufflevector(eight, eight, 0, 1, 2, 3) + __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
  const Lanes4 two = four + __builtin_shufflevector(four, four, 2, 3, 0, 1);
  return two[0] + two[1];
}

// out[r][o] = x[r] . w[o] for R rows of x and O rows of w, `in` elements each. Unrolled, so that the sums stay in registers.
template <int R, int O, class T>
FORETELL_INLINE void block(const float* x, const T* w, std::int64_t in, float (&out)[kRows][kOutputs]) {
  Lanes sums[R][O] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= in; i += kLanes) {
    Lanes rows[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) load(x + r * in + i, rows[r]);
#pragma GCC unroll 8
    for (int o = 0; o < O; ++o) {
      Lanes weights;
      load(w + o * in + i, weights);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) sums[r][o] += rows[r] * weights;
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int o = 0; o < O; ++o) {
      float sum = sum_of_lanes(sums[r][o]);
      for (std::int64_t k = i; k < in; ++k) sum += x[r * in + k] * load_one(w + o * in + k);
      out[r][o] = sum;
    }
  }
}

template <class T>
struct Product {
  const float* x;  // [rows, in]
  const T* weight;
  const T* bias;  // or null
  T* y;
  std::int64_t rows, in, out;
};

template <int R, int O, class T>
FORETELL_INLINE void store_block(const Product<T>& p, std::int64_t row, std::int64_t output) {
  float sums[kRows][kOutputs];
  block<R, O>(p.x + row * p.in, p.weight + output * p.in, p.in, sums);
  for (int r = 0; r < R; ++r) {
    for (int o = 0; o < O; ++o) {
      const float bias = p.bias == nullptr ? 0.0f : load_one(p.bias + output + o);
      p.y[(row + r) * p.out + output + o] = static_cast<T>(sums[r][o] + bias);
    }
  }
}

// So many sums stay in registers: fewer outputs at once where there are more rows.
template <int R>
constexpr int kOutputsAtOnce = R <= 4 ? kOutputs : kOutputs / 2;

template <int R, class T>
FORETELL_INLINE void outputs_of_rows(const Product<T>& p, std::int64_t row, std::int64_t begin, std::int64_t end) {
  constexpr int O = kOutputsAtOnce<R>;
  std::int64_t output = begin;
  for (; output + O <= end; output += O) store_block<R, O>(p, row, output);
  // What is left over is rare: one block at a time, for the sake of the compiler.
  for (; output < end; ++output)
    for (int r = 0; r < R; ++r) store_block<1, 1>(p, row + r, output);
}

// The outputs [begin, end) of all rows, in strips that stay in the cache while every group of rows passes over them.
template <class T>
FORETELL_INLINE void outputs(const Product<T>& p, std::int64_t begin, std::int64_t end) {
  const std::int64_t strip =
      std::max<std::int64_t>(kOutputs, (std::int64_t{1} << 16) / static_cast<std::int64_t>(p.in * sizeof(T)) / kOutputs * kOutputs);
  for (std::int64_t first = begin; first < end; first += strip) {
    const std::int64_t last = std::min(end, first + strip);
    std::int64_t row = 0;
    for (; row + kRows <= p.rows; row += kRows) outputs_of_rows<kRows>(p, row, first, last);
    switch (p.rows - row) {
      case 7: outputs_of_rows<7>(p, row, first, last); break;
      case 6: outputs_of_rows<6>(p, row, first, last); break;
      case 5: outputs_of_rows<5>(p, row, first, last); break;
      case 4: outputs_of_rows<4>(p, row, first, last); break;
      case 3: outputs_of_rows<3>(p, row, first, last); break;
      case 2: outputs_of_rows<2>(p, row, first, last); break;
      case 1: outputs_of_rows<1>(p, row, first, last); break;
      default: break;
    }
  }
}

FORETELL_CLONES void run_f32(const Product<float>& p, std::int64_t begin, std::int64_t end) { outputs(p, begin, end); }
FORETELL_CLONES void run_bf16(const Product<BFloat16>& p, std::int64_t begin, std::int64_t end) { outputs(p, begin, end); }
void run(const Product<float>& p, std::int64_t begin, std::int64_t end) { run_f32(p, begin, end); }
void run(const Product<BFloat16>& p, std::int64_t begin, std::int64_t end) { run_bf16(p, begin, end); }

const float* as_floats(const at::Tensor& x, std::vector<float>& room) {
  if (x.scalar_type() == at::kFloat) return x.const_data_ptr<float>();
  const BFloat16* values = x.const_data_ptr<BFloat16>();
  room.assign(values, values + x.numel());
  return room.data();
}

template <class T>
void multiply(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, at::Tensor& y) {
  static thread_local std::vector<float> room;
  const Product<T> product{as_floats(x, room),
                           weight.const_data_ptr<T>(),
                           bias.defined() ? bias.const_data_ptr<T>() : nullptr,
                           y.mutable_data_ptr<T>(),
                           x.size(0),
                           x.size(1),
                           weight.size(0)};
  const std::int64_t grain = std::max<std::int64_t>(kOutputs, kSerialWork / (product.rows * product.in));
  at::parallel_for(0, product.out, grain, [&](std::int64_t begin, std::int64_t end) { run(product, begin, end); });
}

}  // namespace

at::Tensor direct_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  at::Tensor y = at::empty({x.size(0), weight.size(0)}, x.options());
  x.scalar_type() == at::kFloat ? multiply<float>(x, weight, bias, y) : multiply<BFloat16>(x, weight, bias, y);
  return y;
}

bool has_bfloat16_instructions() {
#if defined(__x86_64__) && defined(__GNUC__)
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return true;  // elsewhere the libraries know best
#endif
}

}  // namespace foretell
