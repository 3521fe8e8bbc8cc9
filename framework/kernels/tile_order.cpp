#include "framework/kernels/tile_order.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "framework/core/cpu_clones.h"
#include "framework/kernels/tile_product.h"
#include "framework/kernels/vector_product.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace foretell::kernels {
namespace {

using at::BFloat16;

// Denormal numbers are zero, as operands and as results, while one of these lives.
class FlushedDenormals {
 public:
#if defined(__x86_64__)
  FlushedDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | kFlush); }
  ~FlushedDenormals() { _mm_setcsr(before_); }
#else
  FlushedDenormals() = default;
#endif
  FlushedDenormals(const FlushedDenormals&) = delete;
  FlushedDenormals& operator=(const FlushedDenormals&) = delete;

 private:
#if defined(__x86_64__)
  static constexpr unsigned kFlush = 0x8040;  // FTZ and DAZ
  unsigned before_;
#endif
};

// Lines of a panel that hold 32 inputs, each the pairs of a step.
struct PairPanel {
  static constexpr int kPairs = 1;
  FORETELL_INLINE static void load_line(const std::byte* at, Lanes (&weights)[2 * kPairs]) {
    using Words = std::uint32_t __attribute__((vector_size(kLanes * sizeof(std::uint32_t))));
    Words words;
    std::memcpy(&words, at, sizeof words);
    const Words low = words << 16, high = words & 0xffff0000u;
    std::memcpy(&weights[0], &low, sizeof low);
    std::memcpy(&weights[1], &high, sizeof high);
  }
};
struct Int8PairPanel {
  static constexpr int kPairs = 2;
  FORETELL_INLINE static void load_line(const std::byte* at, Lanes (&weights)[2 * kPairs]) {
    widen_int8_line(at, weights);
  }
};

// A denormal product that is not fused with its addition would be zero. Compilers fuse the two where the instruction
// set has it and they optimise.
FORETELL_INLINE void add_fused(float x, const Lanes& weights, Lanes& sum) {
#if defined(FORETELL_HAS_CLONES) && defined(__OPTIMIZE__)
  sum += x * weights;
#else
  for (int i = 0; i < kLanes; ++i) sum[i] = __builtin_fmaf(x, weights[i], sum[i]);
#endif
}

// As many panels side by side as there are registers for.
constexpr int few_panels_at_once(int rows) { return rows <= 3 ? 4 : 2; }
// Bytes of a panel that are on their way: the farther, the more panels side by side.
constexpr std::int64_t few_bytes_ahead(int panels) { return panels > 2 ? 2048 : 512; }

// sums[p][r] = panel p . row r. x: [inputs][R]. Sums: [P][R][16].
template <class Panel, int R, int P>
FORETELL_INLINE void multiply_few_panels(const std::byte* panels, std::int64_t stride, const float* x, float* sums) {
  constexpr int kStepLines = static_cast<int>(kTileInputs) / 2 / Panel::kPairs;
  const std::int64_t lines = stride / kLine, turn = (P - 1) * stride;
  std::fill_n(sums, P * R * kPanel, 0.0f);
  for (std::int64_t first = 0; first < lines; first += kStepLines) {
    Lanes even[P][R] = {}, odd[P][R] = {};
    for (std::int64_t line = first; line < first + kStepLines; ++line, panels += kLine, x += 2 * Panel::kPairs * R) {
      const std::int64_t fetched = few_bytes_ahead(P) + (line + few_bytes_ahead(P) / kLine < lines ? 0 : turn);
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
        __builtin_prefetch(panels + p * stride + fetched);
        Lanes weights[2 * Panel::kPairs];
        Panel::load_line(panels + p * stride, weights);
#pragma GCC unroll 2
        for (int pair = 0; pair < Panel::kPairs; ++pair) {
#pragma GCC unroll 5
          for (int r = 0; r < R; ++r) {
            add_fused(x[2 * pair * R + r], weights[2 * pair], even[p][r]);
            add_fused(x[(2 * pair + 1) * R + r], weights[2 * pair + 1], odd[p][r]);
          }
        }
      }
    }
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
#pragma GCC unroll 5
      for (int r = 0; r < R; ++r) {
        Lanes total;
        load(sums + (p * R + r) * kPanel, total);
        const Lanes both = even[p][r] + odd[p][r];
        store(sums + (p * R + r) * kPanel, total + both);
      }
    }
  }
}

template <class Panel, int R>
FORETELL_INLINE void multiply_few_group(const std::byte* panels, std::int64_t stride, const float* x, float* sums) {
  constexpr int P = few_panels_at_once(R);
  for (int p = 0; p < kGroup; p += P)
    multiply_few_panels<Panel, R, P>(panels + p * stride, stride, x, sums + p * R * kPanel);
}

template <class Panel>
FORETELL_INLINE void multiply_few_rows(const std::byte* panels, std::int64_t stride, const float* x, int rows,
                                       float* sums) {
  static_assert(kVectorRows == 5);
  switch (rows) {
    case 1: return multiply_few_group<Panel, 1>(panels, stride, x, sums);
    case 2: return multiply_few_group<Panel, 2>(panels, stride, x, sums);
    case 3: return multiply_few_group<Panel, 3>(panels, stride, x, sums);
    case 4: return multiply_few_group<Panel, 4>(panels, stride, x, sums);
    default: return multiply_few_group<Panel, 5>(panels, stride, x, sums);
  }
}

FORETELL_CLONES void few_bf16(const std::byte* panels, std::int64_t stride, const float* x, int rows, float* sums) {
  multiply_few_rows<PairPanel>(panels, stride, x, rows, sums);
}
FORETELL_CLONES void few_int8(const std::byte* panels, std::int64_t stride, const float* x, int rows, float* sums) {
  multiply_few_rows<Int8PairPanel>(panels, stride, x, rows, sums);
}

// The calling thread's rows, [inputs, rows].
const float* turn_few(const Product& product, const BFloat16* x) {
  static thread_local std::vector<float> turned;
  const std::int64_t rows = product.rows;
  const auto size = static_cast<std::size_t>(rows * product.inputs);
  if (turned.size() < size) turned.resize(size);
  float* const to = turned.data();
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t i = 0; i < product.inputs; ++i) to[i * rows + r] = load_one(x + r * product.inputs + i);
  return to;
}

template <class Y>
void multiply_turned_few(const Product& product, const float* turned, GroupRange groups, Y* y) {
  const int rows = static_cast<int>(product.rows);
  float sums[kGroup * kVectorRows * kPanel];
  for (std::int64_t group = groups.begin; group < groups.end; ++group) {
    {
      const FlushedDenormals flushed;
      (product.type == PanelType::Int8 ? few_int8 : few_bf16)(product.group(group), product.stride(), turned, rows,
                                                              sums);
    }
    finish(product.output, group, rows, rows, sums, y);
  }
}

template <class Y>
void multiply_few(const Product& product, const BFloat16* x, Y* y) {
  const float* const turned = turn_few(product, x);
  at::parallel_for(0, product.groups, product.grain(), [&](std::int64_t begin, std::int64_t end) {
    multiply_turned_few(product, turned, {begin, end}, y);
  });
}

thread_local const float* few_laid_out = nullptr;

// One group of panels of numbers of all sizes with `rows` rows of such numbers, by both.
bool comes_out_alike() {
  constexpr std::int64_t kInputs = 5 * kTileInputs, kRows = 2;
  std::uint32_t state = 1;
  const auto number = [&] {
    state = state * 1664525u + 1013904223u;
    // Any sign and mantissa; exponents from 2^-8 to 2^7.
    return BFloat16(static_cast<std::uint16_t>((state >> 16 & 0x807f) | (119u + (state >> 8 & 15u)) << 7),
                    BFloat16::from_bits());
  };
  std::vector<BFloat16> x(kRows * kInputs), panels(kGroup * kPanel * kInputs);
  for (BFloat16& one : x) one = number();
  for (BFloat16& one : panels) one = number();
  Product product{.type = PanelType::BFloat16,
                  .panels = reinterpret_cast<const std::byte*>(panels.data()),
                  .groups = 1,
                  .inputs = kInputs,
                  .rows = kRows};
  product.output.outputs = product.output.width = kGroup * kPanel;
  std::vector<float> by_vectors(kRows * kGroup * kPanel), by_tiles(kRows * kGroup * kPanel);
  multiply_few(product, x.data(), by_vectors.data());
  TileRows rows;
  rows.lay_out(x.data(), kRows, kInputs);
  AmxContext tiles;
  // Row after row, as y is.
  tiles.multiply(rows.blocks(), {product.panels, product.stride(), kInputs / kTileInputs, false}, false,
                 {by_tiles.data(), kGroup * kPanel, kPanel});
  return std::memcmp(by_vectors.data(), by_tiles.data(), by_tiles.size() * sizeof(float)) == 0;
}

}  // namespace

void multiply_in_tile_order(const Product& product, const BFloat16* x, float* y) { multiply_few(product, x, y); }
void multiply_in_tile_order(const Product& product, const BFloat16* x, BFloat16* y) { multiply_few(product, x, y); }

void lay_out_few(const Product& product, const BFloat16* x) { few_laid_out = turn_few(product, x); }
void multiply_few_groups(const Product& product, GroupRange groups, float* y) {
  multiply_turned_few(product, few_laid_out, groups, y);
}
void multiply_few_groups(const Product& product, GroupRange groups, BFloat16* y) {
  multiply_turned_few(product, few_laid_out, groups, y);
}

bool vectors_follow_tiles() {
  static const bool alike = comes_out_alike();
  return alike;
}

}  // namespace foretell::kernels
