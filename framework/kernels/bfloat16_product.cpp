#include "framework/kernels/bfloat16_product.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "framework/core/error.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FORETELL_BFLOAT16
#include <immintrin.h>
#endif

namespace foretell::kernels {

#ifdef FORETELL_BFLOAT16
namespace {

using at::BFloat16;

#define FORETELL_PAIR_TARGET target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")
#define FORETELL_PAIR_INLINE __attribute__((always_inline, FORETELL_PAIR_TARGET)) inline
#define FORETELL_PAIR_CODE __attribute__((noinline, FORETELL_PAIR_TARGET))

constexpr int kMostPairRows = 6;  // of a block: with four panels 24 sums stay in registers
constexpr std::int64_t kPiecePairs =
    64;  // that a group is cut into where blocks take turns: 16 KiB, in L1 beside the next
constexpr std::int64_t kPairChunkRows = 512;    // whose sums with a group stay in L2
constexpr std::int64_t kSerialPairs = 1 << 16;  // of x, below which a second thread is not worth its start

// Rows of x that pass over a panel together: the pairs that one step needs lie side by side.
struct PairBlock {
  const std::uint32_t* x = nullptr;  // [pairs, rows]
  std::int64_t first = 0;
  int rows = 0;
};

// What is fetched while blocks take turns over a piece: each fetches a part of the next one, a line of every panel
// after so many steps.
struct TurnAhead {
  const std::byte* next = nullptr;
  std::int64_t stride = 0;
  int every = 0;
};

// One line of a panel is one step of bfloat16 pairs, or two of int8 weights that are widened here.
struct PairLine {
  static constexpr int kSteps = 1;
  FORETELL_PAIR_INLINE static void load(const std::byte* at, __m512bh (&pairs)[kSteps]) {
    pairs[0] = (__m512bh)_mm512_loadu_si512(at);
  }
};
struct Int8Line {
  static constexpr int kSteps = 2;
  // Each weight becomes the highest byte of a 32-bit integer, and so 2^24 times itself in float32, whose low half is
  // zero then: the high half is a bfloat16 number. That factor goes when sums are complete, exactly.
  static constexpr float kFactor = 1.0f / (1 << 24);
  FORETELL_PAIR_INLINE static void load(const std::byte* at, __m512bh (&pairs)[kSteps]) {
    using Integers = std::int32_t __attribute__((vector_size(kLanes * sizeof(std::int32_t))));
    using Halves = std::uint16_t __attribute__((vector_size(2 * kLanes * sizeof(std::uint16_t))));
    Integers four;
    std::memcpy(&four, at, sizeof four);
    constexpr std::int32_t kHighest = std::int32_t{-1} << 24;
    const Lanes wide[4] = {
        __builtin_convertvector(four << 24, Lanes), __builtin_convertvector((four << 16) & kHighest, Lanes),
        __builtin_convertvector((four << 8) & kHighest, Lanes), __builtin_convertvector(four & kHighest, Lanes)};
#pragma GCC unroll 2
    for (int s = 0; s < kSteps; ++s) {
      Halves even, odd;
      std::memcpy(&even, &wide[2 * s], sizeof even);
      std::memcpy(&odd, &wide[2 * s + 1], sizeof odd);
      const Halves both = __builtin_shufflevector(even, odd, 1, 33, 3, 35, 5, 37, 7, 39, 9, 41, 11, 43, 13, 45, 15, 47,
                                                  17, 49, 19, 51, 21, 53, 23, 55, 25, 57, 27, 59, 29, 61, 31, 63);
      pairs[s] = (__m512bh)both;
    }
  }
};

// Bytes of a panel that are on their way where one block goes over it.
constexpr std::int64_t kPairBytesAhead = 2048;

struct alignas(64) WidePairs {
  std::uint32_t pairs[kPanel];
};

enum class Turn {
  Alone,  // the only block, over whole panels
  First,  // over a piece; keeps the pairs that it makes of int8 lines for the others
  Later,
};

// sums[p][r] += panel p . row r, for so many lines of a group's panels. Sums: [panels][R][16]. Kept: [panels][a piece's
// pairs].
template <class Line, int R, Turn kTurn>
FORETELL_PAIR_CODE void multiply_pair_block(const std::byte* panels, std::int64_t stride, const std::uint32_t* x,
                                            std::int64_t lines, TurnAhead ahead, WidePairs* kept, float* sums) {
  __m512 total[kGroup][R];
#pragma GCC unroll 4
  for (int p = 0; p < kGroup; ++p) {
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) total[p][r] = _mm512_loadu_ps(sums + (p * R + r) * kPanel);
  }
  const std::int64_t turn = (kGroup - 1) * stride;  // from where these panels end to where the next begin
  int until = ahead.every;
  for (std::int64_t line = 0; line < lines; ++line, panels += kLine, x += Line::kSteps * R) {
    if constexpr (kTurn == Turn::Alone) {
      const std::int64_t fetched = kPairBytesAhead + (line + kPairBytesAhead / kLine < lines ? 0 : turn);
#pragma GCC unroll 4
      for (int p = 0; p < kGroup; ++p) __builtin_prefetch(panels + p * stride + fetched);
    } else if (--until == 0) {
      until = ahead.every;
#pragma GCC unroll 4
      for (int p = 0; p < kGroup; ++p) __builtin_prefetch(ahead.next + p * ahead.stride);
      ahead.next += kLine;
    }
    __m512bh weights[kGroup][Line::kSteps];
#pragma GCC unroll 4
    for (int p = 0; p < kGroup; ++p) {
      Line::load(panels + p * stride, weights[p]);
      if constexpr (kTurn == Turn::First) {
        for (int s = 0; s < Line::kSteps; ++s)
          _mm512_store_si512(kept[p * kPiecePairs + line * Line::kSteps + s].pairs, (__m512i)weights[p][s]);
      }
    }
#pragma GCC unroll 2
    for (int s = 0; s < Line::kSteps; ++s) {
#pragma GCC unroll 6
      for (int r = 0; r < R; ++r) {
        const auto pair = (__m512bh)_mm512_set1_epi32(static_cast<int>(x[s * R + r]));
#pragma GCC unroll 4
        for (int p = 0; p < kGroup; ++p) total[p][r] = _mm512_dpbf16_ps(total[p][r], pair, weights[p][s]);
      }
    }
  }
#pragma GCC unroll 4
  for (int p = 0; p < kGroup; ++p) {
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) _mm512_storeu_ps(sums + (p * R + r) * kPanel, total[p][r]);
  }
}

using BlockCode = void (*)(const std::byte*, std::int64_t, const std::uint32_t*, std::int64_t, TurnAhead, WidePairs*,
                           float*);

template <class Line, Turn kTurn, int... kRows>
constexpr auto block_codes(std::integer_sequence<int, kRows...>) {
  return std::array<BlockCode, sizeof...(kRows)>{multiply_pair_block<Line, kRows + 1, kTurn>...};
}
// For each number of rows.
template <class Line, Turn kTurn>
constexpr auto kBlockCodes = block_codes<Line, kTurn>(std::make_integer_sequence<int, kMostPairRows>());

// Rows of x in blocks of nearly equal size: a single row that is left over would cost as much as many.
class PairRows {
 public:
  void lay_out(const Product& product, const BFloat16* x) {
    const std::int64_t rows = product.rows, inputs = product.inputs,
                       pairs = product.stride() / kLine * (product.type == PanelType::Int8 ? Int8Line::kSteps : 1);
    const std::int64_t count = (rows + kMostPairRows - 1) / kMostPairRows;
    if (pairs_.size() < static_cast<std::size_t>(rows * pairs)) pairs_.resize(static_cast<std::size_t>(rows * pairs));
    blocks_.clear();
    for (std::int64_t block = 0, first = 0; block < count; ++block) {
      const std::int64_t used = (rows - first + count - block - 1) / (count - block);
      blocks_.push_back({pairs_.data() + first * pairs, first, static_cast<int>(used)});
      first += used;
    }
    at::parallel_for(0, count, std::max<std::int64_t>(1, kSerialPairs / (kMostPairRows * pairs)),
                     [&](std::int64_t begin, std::int64_t end) {
                       for (std::int64_t block = begin; block < end; ++block)
                         turn(x, inputs, pairs, blocks_[static_cast<std::size_t>(block)]);
                     });
  }
  std::span<const PairBlock> blocks() const { return blocks_; }

 private:
  void turn(const BFloat16* x, std::int64_t inputs, std::int64_t pairs, const PairBlock& block) {
    std::uint32_t* const first = pairs_.data() + block.first * pairs;
    for (int r = 0; r < block.rows; ++r) {
      const BFloat16* from = x + (block.first + r) * inputs;
      std::uint32_t* to = first + r;
      for (std::int64_t pair = 0; pair < inputs / 2; ++pair, from += 2, to += block.rows)
        std::memcpy(to, from, sizeof *to);
      for (std::int64_t pair = inputs / 2; pair < pairs; ++pair, to += block.rows)
        *to = 2 * pair < inputs ? from->x : 0;
    }
  }

  std::vector<std::uint32_t> pairs_;
  std::vector<PairBlock> blocks_;
};

// All blocks over a group, from piece to piece of it. Sums: for each block [panels][rows][16], one after the other.
void multiply_pairs_in_turns(const Product& product, std::int64_t group, std::span<const PairBlock> blocks,
                             float* sums) {
  static thread_local std::vector<WidePairs> kept;
  const bool is_int8 = product.type == PanelType::Int8;
  const std::int64_t steps = is_int8 ? Int8Line::kSteps : 1, stride = product.stride(), lines = stride / kLine,
                     piece = kPiecePairs / steps, share = piece / static_cast<std::int64_t>(blocks.size());
  const std::byte* const panels = product.group(group);
  kept.resize(kGroup * kPiecePairs);
  for (std::int64_t begin = 0; begin < lines; begin += piece) {
    const std::int64_t count = std::min(piece, lines - begin);
    const std::byte* const at = panels + begin * kLine;
    // The next piece, or the next group's first.
    const std::byte* next = begin + piece < lines ? at + piece * kLine : panels + kGroup * stride;
    float* to = sums;
    for (const PairBlock& block : blocks) {
      const auto code = static_cast<std::size_t>(block.rows - 1);
      const std::uint32_t* const x = block.x + begin * steps * block.rows;
      const int turns = static_cast<int>(blocks.size());
      if (!is_int8) {
        kBlockCodes<PairLine, Turn::Later>[code](at, stride, x, count, {next, stride, turns}, nullptr, to);
      } else if (&block == blocks.data()) {
        kBlockCodes<Int8Line, Turn::First>[code](at, stride, x, count, {next, stride, turns}, kept.data(), to);
      } else {
        kBlockCodes<PairLine, Turn::Later>[code](reinterpret_cast<const std::byte*>(kept.data()), kPiecePairs * kLine,
                                                 x, count * steps, {next, stride, turns * Int8Line::kSteps}, nullptr,
                                                 to);
      }
      next += share * kLine;
      to += kGroup * block.rows * kPanel;
    }
  }
}

void multiply_pair_group(const Product& product, std::int64_t group, std::span<const PairBlock> blocks, float* sums) {
  const bool is_int8 = product.type == PanelType::Int8;
  if (blocks.size() > 1) {
    multiply_pairs_in_turns(product, group, blocks, sums);
  } else {
    const auto& code = is_int8 ? kBlockCodes<Int8Line, Turn::Alone> : kBlockCodes<PairLine, Turn::Alone>;
    code[static_cast<std::size_t>(blocks[0].rows - 1)](product.group(group), product.stride(), blocks[0].x,
                                                       product.stride() / kLine, {}, nullptr, sums);
  }
  if (!is_int8) return;
#pragma omp simd
  for (std::int64_t i = 0; i < kGroup * kPanel * product.rows; ++i) sums[i] *= Int8Line::kFactor;
}

PairRows& own_pair_rows() {
  static thread_local PairRows rows;
  return rows;
}

template <class Y>
void multiply_pair_groups(const Product& product, std::span<const PairBlock> blocks, GroupRange groups, Y* y) {
  static thread_local std::vector<float> sums;
  for (std::int64_t group = groups.begin; group < groups.end; ++group) {
    sums.assign(static_cast<std::size_t>(kGroup * kPanel * product.rows), 0.0f);
    multiply_pair_group(product, group, blocks, sums.data());
    float* from = sums.data();
    for (const PairBlock& block : blocks) {
      finish(product.output, group, block.rows, block.rows, from, y + block.first * product.output.width);
      from += kGroup * block.rows * kPanel;
    }
  }
}

template <class Y>
void multiply_pair_chunk(const Product& product, const BFloat16* x, Y* y) {
  PairRows& laid_out = own_pair_rows();
  laid_out.lay_out(product, x);
  const std::span<const PairBlock> blocks = laid_out.blocks();
  at::parallel_for(0, product.groups, product.grain(), [&](std::int64_t begin, std::int64_t end) {
    multiply_pair_groups(product, blocks, {begin, end}, y);
  });
}

template <class Y>
void multiply_pairs(const Product& product, const BFloat16* x, Y* y) {
  for (std::int64_t first = 0; first < product.rows; first += kPairChunkRows) {
    Product chunk = product;
    chunk.rows = std::min(kPairChunkRows, product.rows - first);
    multiply_pair_chunk(chunk, x + first * product.inputs, y + first * product.output.width);
  }
}

}  // namespace

bool has_bfloat16_instructions() {
  return __builtin_cpu_supports("avx512bf16") != 0 && __builtin_cpu_supports("avx512bw") != 0;
}
void multiply_by_pairs(const Product& product, const BFloat16* x, float* y) { multiply_pairs(product, x, y); }
void multiply_by_pairs(const Product& product, const BFloat16* x, BFloat16* y) { multiply_pairs(product, x, y); }

void lay_out_pairs(const Product& product, const BFloat16* x) { own_pair_rows().lay_out(product, x); }
void multiply_laid_out_pairs(const Product& product, GroupRange groups, float* y) {
  multiply_pair_groups(product, own_pair_rows().blocks(), groups, y);
}
void multiply_laid_out_pairs(const Product& product, GroupRange groups, BFloat16* y) {
  multiply_pair_groups(product, own_pair_rows().blocks(), groups, y);
}

#else

bool has_bfloat16_instructions() { return false; }
void multiply_by_pairs(const Product&, const at::BFloat16*, float*) { fail("no bfloat16 instructions"); }
void multiply_by_pairs(const Product&, const at::BFloat16*, at::BFloat16*) { fail("no bfloat16 instructions"); }
void lay_out_pairs(const Product&, const at::BFloat16*) { fail("no bfloat16 instructions"); }
void multiply_laid_out_pairs(const Product&, GroupRange, float*) { fail("no bfloat16 instructions"); }
void multiply_laid_out_pairs(const Product&, GroupRange, at::BFloat16*) { fail("no bfloat16 instructions"); }

#endif

}  // namespace foretell::kernels
