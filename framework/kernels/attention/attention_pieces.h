// Products of queries with pieces of a cache: by vectors, in one of three arithmetics, and by the processor's tiles.
//
// Contract: a query's scores and sums do not depend on the queries beside it. Code that is inlined into functions that
// are compiled for one processor each (attention_code.cpp).
#pragma once

#include <array>
#include <cstring>
#include <span>

#include "framework/core/cpu_clones.h"
#include "framework/kernels/attention/attention_job.h"
#include "framework/kernels/attention/attention_path.h"

namespace foretell::kernels::attention {

using at::BFloat16;

constexpr int kSideQueries = 4;  // that are multiplied side by side, at most
constexpr int kSidePanels = 4;   // likewise

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wignored-attributes"

// Arithmetics: how a step of a panel, times a word of x, is added to a sum.
struct FloatFma {
  using Input = float;
  using Word = float;
  using Panel = Lanes;
  using Factor = float;
  FORETELL_INLINE static void load_panel(const float* from, Lanes& to) { load(from, to); }
  FORETELL_INLINE static void load_factor(const float* x, float& to) { to = *x; }
  FORETELL_INLINE static void add(Lanes& sum, float x, const Lanes& panel) { sum += x * panel; }
};

// Pairs of bfloat16, the odd one first, as avx512_bf16 adds them.
struct PairFma {
  using Input = BFloat16;
  using Word = std::uint32_t;
  struct Panel {
    Lanes odd, even;
  };
  struct Factor {
    float odd, even;
  };
  FORETELL_INLINE static void load_panel(const std::uint32_t* from, Panel& to) {
    using Words = std::uint32_t __attribute__((vector_size(kLanes * sizeof(std::uint32_t))));
    Words words;
    std::memcpy(&words, from, sizeof words);
    const Words odd = words & 0xffff0000u, even = words << 16;
    std::memcpy(&to.odd, &odd, sizeof odd);
    std::memcpy(&to.even, &even, sizeof even);
  }
  FORETELL_INLINE static void load_factor(const std::uint32_t* x, Factor& to) {
    const std::uint32_t odd = *x & 0xffff0000u, even = *x << 16;
    std::memcpy(&to.odd, &odd, sizeof odd);
    std::memcpy(&to.even, &even, sizeof even);
  }
  FORETELL_INLINE static void add(Lanes& sum, const Factor& x, const Panel& panel) {
    sum += x.odd * panel.odd;
    sum += x.even * panel.even;
  }
};

#ifdef FORETELL_BF16_VECTORS
struct PairDot {
  using Input = BFloat16;
  using Word = std::uint32_t;
  using Panel = Lanes;
  using Factor = Lanes;
  FORETELL_INLINE static void load_panel(const std::uint32_t* from, Lanes& to) { std::memcpy(&to, from, sizeof to); }
  FORETELL_INLINE static void load_factor(const std::uint32_t* x, Lanes& to) {
    asm("vbroadcastss %1, %0" : "=v"(to) : "m"(*x));
  }
  FORETELL_INLINE static void add(Lanes& sum, const Lanes& x, const Lanes& panel) {
    Lanes all = sum;  // a local one stays in its register
    asm("vdpbf16ps %2, %1, %0" : "+v"(all) : "v"(x), "v"(panel));
    sum = all;
  }
};
#endif

// Where panels lie: words from one step to the next, and from one panel to the next.
struct PanelStrides {
  std::int64_t step, panel;
};

// sums[q][p * 16 ...] (+)= x[q] . panel p, over the steps in their order.
template <class A, int Q, int P>
FORETELL_INLINE void multiply_panels(const typename A::Word* x, std::int64_t x_row, const typename A::Word* panels,
                                     const PanelStrides& strides, std::int64_t steps, bool adds, float* sums,
                                     std::int64_t sums_row) {
  Lanes total[Q][P];
#pragma GCC unroll 4
  for (int a = 0; a < Q; ++a) {
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      if (adds) {
        load(sums + a * sums_row + p * kLanes, total[a][p]);
      } else {
        total[a][p] = Lanes{};
      }
    }
  }
  for (std::int64_t i = 0; i < steps; ++i, panels += strides.step) {
    typename A::Panel panel[P];
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) A::load_panel(panels + p * strides.panel, panel[p]);
#pragma GCC unroll 4
    for (int a = 0; a < Q; ++a) {
      typename A::Factor factor;
      A::load_factor(x + a * x_row + i, factor);
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) A::add(total[a][p], factor, panel[p]);
    }
  }
#pragma GCC unroll 4
  for (int a = 0; a < Q; ++a) {
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) store(sums + a * sums_row + p * kLanes, total[a][p]);
  }
}

template <class A, int P>
FORETELL_INLINE void multiply_queries(const typename A::Word* x, std::int64_t x_row, int queries,
                                      const typename A::Word* panels, const PanelStrides& strides, std::int64_t steps,
                                      bool adds, float* sums, std::int64_t sums_row) {
  int q = 0;
  for (; q + kSideQueries <= queries; q += kSideQueries)
    multiply_panels<A, kSideQueries, P>(x + q * x_row, x_row, panels, strides, steps, adds, sums + q * sums_row,
                                        sums_row);
  if (q + 2 <= queries) {
    multiply_panels<A, 2, P>(x + q * x_row, x_row, panels, strides, steps, adds, sums + q * sums_row, sums_row);
    q += 2;
  }
  if (q < queries)
    multiply_panels<A, 1, P>(x + q * x_row, x_row, panels, strides, steps, adds, sums + q * sums_row, sums_row);
}

// Products with pieces by vectors.
template <class A>
struct VectorPieces {
  using Input = typename A::Input;
  using Word = typename A::Word;
  static constexpr bool kPairs = sizeof(Input) < sizeof(Word);
  static constexpr int kInputs = kPairs ? 2 : 1;  // of a word

  AttentionRoom& room;
  std::int64_t wide, value_wide;  // of keys and values, filled up with zeros
  const Word* value_panels = nullptr;
  const Word* weights = nullptr;
  int value_count = 0;

  FORETELL_INLINE VectorPieces(AttentionRoom& in, const AttentionJob& job)
      : room(in), wide(up_to_whole(job.dim, kPairs ? kTileInputs : kLanes)), value_wide(whole_lanes(job.value_dim)) {}
  static std::int64_t wide_values(std::int64_t width) { return whole_lanes(width); }

  FORETELL_INLINE void begin_queries(int queries) {
    Input* const to = room.queries.at_least<Input>(queries * wide);
    std::fill_n(to, queries * wide, Input(0));
  }
  FORETELL_INLINE void take_query(const Input* query, std::int64_t dim, int q, int) {
    std::memcpy(room.queries.at_least<Input>(0) + q * wide, query, static_cast<std::size_t>(dim) * sizeof(Input));
  }
  FORETELL_INLINE void score(const PieceRows& keys, int queries, float* scores, std::int64_t scores_row) {
    const std::int64_t words = wide / kInputs, steps = (keys.of.width + kInputs - 1) / kInputs;
    Word* const panels = room.keys.at_least<Word>(kAttendedPiece * words);
    lay_out_keys(keys, wide, panels, room.copies);
    multiply_queries<A, kSidePanels>(room.queries.at_least<Word>(0), words, queries, panels, {kLanes, kLanes * words},
                                     steps, false, scores, scores_row);
  }
  FORETELL_INLINE void take_weights(const float* scores, int queries) {
    if constexpr (kPairs) {
      BFloat16* const to = room.weights.at_least<BFloat16>(std::int64_t{queries} * kAttendedPiece);
      for (int i = 0; i < queries * kAttendedPiece; i += kLanes) {
        Lanes lanes;
        load(scores + i, lanes);
        store(to + i, lanes);
      }
      weights = reinterpret_cast<const Word*>(to);
    } else {
      weights = scores;
    }
  }
  FORETELL_INLINE void take_values(const PieceRows& values) {
    value_count = values.count;
    if constexpr (kPairs) {
      Word* const panels = room.values.at_least<Word>(kAttendedPiece / kInputs * value_wide);
      lay_out_values(values, value_wide, panels, room.copies);
      value_panels = panels;
    } else {
      value_panels = value_rows(values, value_wide, room.copies);
    }
  }
  FORETELL_INLINE void mix(int queries, float* sums, std::int64_t sums_row) {
    constexpr std::int64_t kWords = kAttendedPiece / kInputs;  // of a query's weights
    const std::int64_t steps = kPairs ? kWords : value_count;
    const PanelStrides strides{kPairs ? kLanes : value_wide, kPairs ? kLanes * kWords : kLanes};
    const Word* from = value_panels;
    std::int64_t i = 0;
    for (; i + kSidePanels * kLanes <= value_wide; i += kSidePanels * kLanes, from += kSidePanels * strides.panel)
      multiply_queries<A, kSidePanels>(weights, kWords, queries, from, strides, steps, true, sums + i, sums_row);
    if (i + 2 * kLanes <= value_wide) {
      multiply_queries<A, 2>(weights, kWords, queries, from, strides, steps, true, sums + i, sums_row);
      i += 2 * kLanes;
      from += 2 * strides.panel;
    }
    if (i < value_wide)
      multiply_queries<A, 1>(weights, kWords, queries, from, strides, steps, true, sums + i, sums_row);
  }
};

// The same by the processor's tiles.
struct TilePieces {
  using Input = BFloat16;

  AttentionRoom& room;
  std::int64_t wide, value_wide;
  AmxContext session = {};

  TilePieces(AttentionRoom& in, const AttentionJob& job)
      : room(in), wide(up_to_whole(job.dim, kTileInputs)), value_wide(wide_values(job.value_dim)) {}
  static std::int64_t wide_values(std::int64_t width) { return up_to_whole(width, AmxContext::kPanels * kTileOutputs); }

  // Where a row's first step lies in blocks of rows that are `wide` inputs each.
  static BFloat16* row_of(BFloat16* blocks, std::int64_t wide, int row) {
    const int block = row / kTileBlockRows;
    return blocks + block * kTileBlockRows * wide + row % kTileBlockRows * kTileInputs;
  }
  // How many rows its next step lies behind, where there are so many.
  static int step_rows(int row, int rows) {
    const int block = row / kTileBlockRows;
    return TileBlock{nullptr, std::min(rows - block * kTileBlockRows, kTileBlockRows)}.tiles() * kTileRows;
  }
  static BFloat16* block_room(LineBuffer& buffer, std::int64_t wide, int rows) {
    return buffer.at_least<BFloat16>(up_to_whole(rows, kTileRows) * wide);
  }

  void begin_queries(int queries) {
    BFloat16* const to = block_room(room.queries, wide, queries);
    std::fill_n(to, up_to_whole(queries, kTileRows) * wide, BFloat16(0));
  }
  void take_query(const BFloat16* query, std::int64_t dim, int q, int queries) {
    BFloat16* to = row_of(room.queries.at_least<BFloat16>(0), wide, q);
    for (std::int64_t i = 0; i < dim; i += kTileInputs, to += step_rows(q, queries) * kTileInputs)
      std::memcpy(to, query + i, static_cast<std::size_t>(std::min(kTileInputs, dim - i)) * sizeof(BFloat16));
  }
  void multiply_blocks(const BFloat16* x, std::int64_t inputs, int rows, const std::uint32_t* panels, bool adds,
                       const AmxContext::Sums& sums) {
    const std::array blocks{TileBlock{x, std::min(rows, kTileBlockRows)},
                            TileBlock{x + kTileBlockRows * inputs, std::max(rows - kTileBlockRows, 0)}};
    session.multiply(
        std::span(blocks).first(rows > kTileBlockRows ? 2 : 1),
        {reinterpret_cast<const std::byte*>(panels),
         inputs / 2 * kTileOutputs * static_cast<std::int64_t>(sizeof(std::uint32_t)), inputs / kTileInputs, false},
        adds, sums);
  }
  void score(const PieceRows& keys, int queries, float* scores, std::int64_t scores_row) {
    auto* const panels = room.keys.at_least<std::uint32_t>(kAttendedPiece * wide / 2);
    lay_out_keys(keys, wide, panels, room.copies);
    multiply_blocks(room.queries.at_least<BFloat16>(0), wide, queries, panels, false,
                    {scores, scores_row, kTileOutputs});
  }
  FORETELL_INLINE void take_weights(const float* scores, int queries) {
    BFloat16* const blocks = block_room(room.weights, kAttendedPiece, queries);
    for (int q = 0; q < queries; ++q) {
      BFloat16* to = row_of(blocks, kAttendedPiece, q);
      for (int i = 0; i < kAttendedPiece; i += kLanes) {
        Lanes lanes;
        load(scores + q * kAttendedPiece + i, lanes);
        store(to + i / kTileInputs * step_rows(q, queries) * kTileInputs + i % kTileInputs, lanes);
      }
    }
  }
  void take_values(const PieceRows& values) {
    lay_out_values(values, value_wide, room.values.at_least<std::uint32_t>(kAttendedPiece / 2 * value_wide),
                   room.copies);
  }
  void mix(int queries, float* sums, std::int64_t sums_row) {
    const auto* panels = room.values.at_least<std::uint32_t>(0);
    for (std::int64_t column = 0; column < value_wide; column += AmxContext::kPanels * kTileOutputs)
      multiply_blocks(room.weights.at_least<BFloat16>(0), kAttendedPiece, queries, panels + column * kAttendedPiece / 2,
                      true, {sums + column, sums_row, kTileOutputs});
  }
};

#pragma GCC diagnostic pop

}  // namespace foretell::kernels::attention
