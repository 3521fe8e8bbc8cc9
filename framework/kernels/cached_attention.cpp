#include "framework/kernels/cached_attention.h"

#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <limits>
#include <vector>

#include "framework/core/cpu_clones.h"
#include "framework/kernels/attention_panels.h"
#include "framework/kernels/fast_exp.h"
#include "framework/kernels/lanes.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FORETELL_BF16_VECTORS
#endif

namespace foretell::kernels {
namespace {

using at::BFloat16;

constexpr int kJoined = 8 * kAttendedPiece;  // positions whose sums are joined with those of other segments at the end
constexpr int kTileQueries = 2 * kTileBlockRows;  // queries that a piece is laid out for, at most
constexpr int kSideQueries = 4;                   // that are multiplied side by side, at most
constexpr int kSidePanels = 4;                    // likewise
constexpr std::int64_t kSerialAttention = 1
                                          << 17;  // multiplications below which a second thread is not worth its start
constexpr int kTasksPerThread = 4;                // where there are fewer, a long cache is divided as well
constexpr float kHidden = -std::numeric_limits<float>::infinity();

std::int64_t up_to_whole(std::int64_t width, std::int64_t step) { return (width + step - 1) / step * step; }
std::int64_t whole_lanes(std::int64_t width) { return up_to_whole(width, kLanes); }

// One layer of one sequence. Query q of a key head is query head q % group of row q / group.
struct AttentionJob {
  const std::byte* queries;
  std::int64_t row_bytes;  // of the queries
  HeadRows keys, values;   // of head 0
  const float *key_scales, *value_scales;
  std::int64_t capacity, dim, value_dim;
  int kv_heads, group;
  const AttentionMask* seen;
  float scale;
  std::byte* out;

  int count() const { return seen->rows * group; }
  bool is_tree() const { return !seen->marks.empty(); }
  // The first piece that rows of a tree see at places of their own.
  int tail() const { return seen->base / kAttendedPiece * kAttendedPiece; }

  HeadRows head(const HeadRows& all, int head) const {
    const std::int64_t size = all.type == HeadRows::Type::Float32 ? 4 : all.type == HeadRows::Type::BFloat16 ? 2 : 1;
    return {all.type, static_cast<const std::byte*>(all.first) + head * capacity * all.width * size, all.width};
  }
};

// Up to kTileQueries queries of one head, and which positions they see between them.
struct QueryTile {
  const AttentionJob* job;
  int head, first_query, queries;
  int begin, end;  // rows of a tree see more from the tail on

  int first_row() const { return first_query / job->group; }
  int last_row() const { return (first_query + queries - 1) / job->group; }
  int first_segment() const { return begin / kJoined; }
  int segments() const { return std::max((end + kJoined - 1) / kJoined - first_segment(), 1); }
};

// A tile in segments [first, last), counted from its first.
struct AttentionTask {
  QueryTile tile;
  int first, last;
  float* parts;  // what it leaves; null: it is the whole tile, whose result it leaves

  bool has_tail() const { return tile.job->is_tree() && last == tile.segments(); }
};

// What is left of a segment for each query, a part: the sum of weighted values, then the largest score, then the sum of
// weights.

struct AttentionRoom {
  LineBuffer queries, keys, values, weights, scores, tail, parts, copies, joined;
  std::vector<int> places;
};

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

// Scores of one query become weights; returns what the sums so far are to be multiplied with. Lane by lane, because a
// compiler's own reductions go through the sixteen lanes one after the other.
FORETELL_INLINE float weigh(float* scores, float& largest, float& sum) {
  float tops[kLanes];
  std::fill_n(tops, kLanes, largest);
  for (int c = 0; c < kAttendedPiece; c += kLanes) {
#pragma omp simd
    for (int i = 0; i < kLanes; ++i) tops[i] = scores[c + i] > tops[i] ? scores[c + i] : tops[i];
  }
#pragma GCC unroll 4
  for (int half = kLanes / 2; half > 0; half /= 2) {
#pragma omp simd
    for (int i = 0; i < half; ++i) tops[i] = tops[i + half] > tops[i] ? tops[i + half] : tops[i];
  }
  const float top = tops[0];
  if (top == kHidden) {
    std::fill_n(scores, kAttendedPiece, 0.0f);
    return 1.0f;
  }
  Lanes total{};
  for (int c = 0; c < kAttendedPiece; c += kLanes) {
#pragma omp simd
    for (int i = 0; i < kLanes; ++i) scores[c + i] = scores[c + i] == kHidden ? 0.0f : fast_exp(scores[c + i] - top);
    Lanes weights;
    load(scores + c, weights);
    total += weights;
  }
  const float factor = largest == kHidden ? 0.0f : largest == top ? 1.0f : fast_exp(largest - top);
  sum = sum * factor + sum_of_lanes(total);
  largest = top;
  return factor;
}

// Of a query's scores of the positions from `begin` on, those that its row does not see; all of them lie below a tree's
// tail. `count`: that there are.
FORETELL_INLINE void hide(const AttentionMask& seen, int row, int begin, int count, float* scores) {
  const int first = std::clamp(std::max(seen.first, seen.lowest_of(row)) - begin, 0, kAttendedPiece);
  const bool is_chain = !seen.all && seen.marks.empty();
  const int last = std::clamp((is_chain ? seen.chain_end(row) : seen.end) - begin, 0, count);
  std::fill(scores, scores + first, kHidden);
  std::fill(scores + std::max(first, last), scores + kAttendedPiece, kHidden);
}

FORETELL_INLINE void scale_scores(float* scores, int count, float scale, const float* scales) {
  if (scales) {
#pragma omp simd
    for (int c = 0; c < count; ++c) scores[c] *= scale * scales[c];
  } else {
#pragma omp simd
    for (int c = 0; c < count; ++c) scores[c] *= scale;
  }
}

// A query's scores become weights, and what was summed so far is scaled down to them.
FORETELL_INLINE void weigh_into(float* scores, float* part, std::int64_t value_wide) {
  const float factor = weigh(scores, part[value_wide], part[value_wide + 1]);
  if (factor == 1.0f) return;
#pragma omp simd
  for (std::int64_t i = 0; i < value_wide; ++i) part[i] *= factor;
}

template <class P>
FORETELL_INLINE void begin_tile(const QueryTile& tile, P& pieces) {
  const AttentionJob& job = *tile.job;
  pieces.begin_queries(tile.queries);
  for (int q = 0; q < tile.queries; ++q) {
    const int query = tile.first_query + q;
    const auto* row = reinterpret_cast<const typename P::Input*>(job.queries + query / job.group * job.row_bytes);
    pieces.take_query(row + (tile.head * job.group + query % job.group) * job.dim, job.dim, q, tile.queries);
  }
}

// The largest score so far is none, the sums are zero.
FORETELL_INLINE void begin_part(float* part, int queries, std::int64_t value_wide) {
  const std::int64_t width = value_wide + kLanes;
  std::fill_n(part, queries * width, 0.0f);
  for (int q = 0; q < queries; ++q) part[q * width + value_wide] = kHidden;
}

template <class P>
FORETELL_INLINE void run_piece(const QueryTile& tile, int piece, int end, float* part, P& pieces, AttentionRoom& room) {
  const AttentionJob& job = *tile.job;
  const std::int64_t width = pieces.value_wide + kLanes, scales = tile.head * job.capacity + piece;
  const int count = std::min(kAttendedPiece, end - piece);
  float* const scores = room.scores.at_least<float>(std::int64_t{tile.queries} * kAttendedPiece);
  pieces.score({job.head(job.keys, tile.head), piece, count}, tile.queries, scores, kAttendedPiece);
  for (int q = 0; q < tile.queries; ++q) {
    float* const own = scores + q * kAttendedPiece;
    scale_scores(own, count, job.scale, job.key_scales ? job.key_scales + scales : nullptr);
    hide(*job.seen, (tile.first_query + q) / job.group, piece, count, own);
    weigh_into(own, part + q * width, pieces.value_wide);
    if (job.value_scales) scale_scores(own, count, 1.0f, job.value_scales + scales);
  }
  pieces.take_weights(scores, tile.queries);
  pieces.take_values({job.head(job.values, tile.head), piece, count});
  pieces.mix(tile.queries, part, width);
}

// Scores of all rows from a tree's first own piece on, by the rows of the cache as they lie.
template <class P>
FORETELL_INLINE const float* score_tail(const QueryTile& tile, P& pieces, AttentionRoom& room, std::int64_t columns) {
  const AttentionJob& job = *tile.job;
  float* const scores = room.tail.at_least<float>(tile.queries * columns);
  for (int piece = job.tail(); piece < job.seen->end; piece += kAttendedPiece) {
    const int count = std::min(kAttendedPiece, job.seen->end - piece);
    float* const own = scores + piece - job.tail();
    pieces.score({job.head(job.keys, tile.head), piece, count}, tile.queries, own, columns);
    const float* const scales = job.key_scales ? job.key_scales + tile.head * job.capacity + piece : nullptr;
    for (int q = 0; q < tile.queries; ++q) scale_scores(own + q * columns, count, job.scale, scales);
  }
  return scores;
}

// Which row of the cache a row of a tree has at each place from the tail on, -1 where it sees none: its ancestors stand
// behind one another.
inline void find_places(const AttentionJob& job, int row, std::vector<int>& places) {
  const AttentionMask& seen = *job.seen;
  const int lowest = seen.lowest_of(row);
  places.clear();
  for (int column = job.tail(); column < std::max(seen.base, lowest); ++column)
    places.push_back(column < seen.base && column >= std::max(lowest, seen.first) ? column : -1);
  for (int column = seen.base; column < seen.end; ++column)
    if (seen.sees(row, column)) places.push_back(column);
}

// The rest of a tree, each row with its ancestors where they would lie in a chain.
template <class P>
FORETELL_INLINE void run_tail(const QueryTile& tile, float* parts, int first_segment, P& pieces, AttentionRoom& room) {
  const AttentionJob& job = *tile.job;
  const std::int64_t columns = up_to_whole(job.seen->end - job.tail(), kAttendedPiece),
                     width = pieces.value_wide + kLanes;
  const float* const all = score_tail(tile, pieces, room, columns);
  for (int q = 0; q < tile.queries;) {
    const int row = (tile.first_query + q) / job.group;
    const int alike = std::min(tile.queries, (row + 1) * job.group - tile.first_query) - q;
    find_places(job, row, room.places);
    const int found = static_cast<int>(room.places.size());
    for (int first = 0; first < found; first += kAttendedPiece) {
      const int count = std::min(kAttendedPiece, found - first);
      const int* const listed = room.places.data() + first;
      float* const part =
          parts + (((job.tail() + first) / kJoined - first_segment) * std::int64_t{tile.queries} + q) * width;
      float* const scores = room.scores.at_least<float>(std::int64_t{alike} * kAttendedPiece);
      for (int i = 0; i < alike; ++i) {
        float* const own = scores + i * kAttendedPiece;
        for (int c = 0; c < kAttendedPiece; ++c)
          own[c] = c < count && listed[c] >= 0 ? all[(q + i) * columns + listed[c] - job.tail()] : kHidden;
        weigh_into(own, part + i * width, pieces.value_wide);
        for (int c = 0; job.value_scales && c < count; ++c)
          own[c] *= listed[c] < 0 ? 0.0f : job.value_scales[tile.head * job.capacity + listed[c]];
      }
      pieces.take_weights(scores, alike);
      pieces.take_values({job.head(job.values, tile.head), 0, count, listed});
      pieces.mix(alike, part, width);
    }
    q += alike;
  }
}

// The segments of one query, in their order; a segment in which it saw nothing changes nothing. `joined` has room for a
// row of values.
template <class T>
FORETELL_INLINE void join(const float* parts, int segments, std::int64_t stride, std::int64_t value_wide,
                          std::int64_t value_dim, float* joined, T* out) {
  float largest = kHidden, sum = 0;
  for (int s = 0; s < segments; ++s) largest = std::max(largest, parts[s * stride + value_wide]);
  std::fill_n(joined, value_dim, 0.0f);
  for (int s = 0; s < segments; ++s) {
    const float* part = parts + s * stride;
    if (part[value_wide] == kHidden) continue;
    const float factor = part[value_wide] == largest ? 1.0f : fast_exp(part[value_wide] - largest);
    sum += factor * part[value_wide + 1];
#pragma omp simd
    for (std::int64_t i = 0; i < value_dim; ++i) joined[i] += factor * part[i];
  }
  const float inverse = 1.0f / sum;
#pragma omp simd
  for (std::int64_t i = 0; i < value_dim; ++i) store_one(out + i, joined[i] * inverse);
}

template <class T>
FORETELL_INLINE void join_tile(const QueryTile& tile, const float* parts, std::int64_t value_wide,
                               AttentionRoom& room) {
  const AttentionJob& job = *tile.job;
  const std::int64_t width = value_wide + kLanes;
  float* const joined = room.joined.at_least<float>(value_wide);
  for (int q = 0; q < tile.queries; ++q) {
    const int query = tile.first_query + q;
    T* const out = reinterpret_cast<T*>(job.out) + ((query / job.group) * std::int64_t{job.kv_heads * job.group} +
                                                    tile.head * job.group + query % job.group) *
                                                       job.value_dim;
    join(parts + q * width, tile.segments(), tile.queries * width, value_wide, job.value_dim, joined, out);
  }
}

template <class P>
FORETELL_INLINE void run_task(const AttentionTask& task, AttentionRoom& room) {
  const QueryTile& tile = task.tile;
  const AttentionJob& job = *tile.job;
  P pieces(room, job);
  const std::int64_t size = tile.queries * (pieces.value_wide + kLanes);
  float* const parts = task.parts ? task.parts : room.parts.at_least<float>((task.last - task.first) * size);
  const int first_segment = tile.first_segment() + task.first;
  begin_tile(tile, pieces);
  begin_part(parts, tile.queries * (task.last - task.first), pieces.value_wide);
  const int end = job.is_tree() ? std::min(tile.end, job.tail()) : tile.end;
  for (int s = 0; s < task.last - task.first; ++s) {
    const int begin = std::max((first_segment + s) * kJoined, tile.begin / kAttendedPiece * kAttendedPiece);
    for (int piece = begin; piece < std::min((first_segment + s + 1) * kJoined, end); piece += kAttendedPiece)
      run_piece(tile, piece, end, parts + s * size, pieces, room);
  }
  if (task.has_tail()) run_tail(tile, parts, first_segment, pieces, room);
  if (!task.parts) join_tile<typename P::Input>(tile, parts, pieces.value_wide, room);
}

// The weights of a key head's queries, [rows, columns], to be added to what is there.
template <class P>
FORETELL_INLINE void add_weights(const QueryTile& tile, float* out, AttentionRoom& room) {
  const AttentionJob& job = *tile.job;
  const AttentionMask& seen = *job.seen;
  P pieces(room, job);
  begin_tile(tile, pieces);
  const int begin = seen.first / kAttendedPiece * kAttendedPiece;
  const std::int64_t columns = up_to_whole(seen.end - begin, kAttendedPiece);
  float* const scores = room.tail.at_least<float>(tile.queries * columns);
  for (int piece = begin; piece < seen.end; piece += kAttendedPiece)
    pieces.score({job.head(job.keys, tile.head), piece, std::min(kAttendedPiece, seen.end - piece)}, tile.queries,
                 scores + piece - begin, columns);
  for (int q = 0; q < tile.queries; ++q) {
    const int row = (tile.first_query + q) / job.group;
    float* const own = scores + q * columns + seen.first - begin;
    const int count = seen.end - seen.first;
    scale_scores(own, count, job.scale,
                 job.key_scales ? job.key_scales + tile.head * job.capacity + seen.first : nullptr);
    float top = kHidden, sum = 0;
    for (int c = 0; c < count; ++c)
      if (seen.all || seen.sees(row, seen.first + c)) top = std::max(top, own[c]);
    // One after the other, so that those that are not seen leave no gap.
    for (int c = 0; c < count; ++c) {
      own[c] = seen.all || seen.sees(row, seen.first + c) ? fast_exp(own[c] - top) : 0.0f;
      sum += own[c];
    }
    float* const to = out + std::int64_t{row} * count;
    for (int c = 0; c < count; ++c) to[c] += own[c] / sum;
  }
}

#pragma GCC diagnostic pop

FORETELL_CLONES void run_f32(const AttentionTask& task, AttentionRoom& room) {
  run_task<VectorPieces<FloatFma>>(task, room);
}
FORETELL_CLONES void run_fma(const AttentionTask& task, AttentionRoom& room) {
  run_task<VectorPieces<PairFma>>(task, room);
}
FORETELL_CLONES void run_tiles(const AttentionTask& task, AttentionRoom& room) { run_task<TilePieces>(task, room); }
FORETELL_CLONES void weigh_f32(const QueryTile& tile, float* out, AttentionRoom& room) {
  add_weights<VectorPieces<FloatFma>>(tile, out, room);
}
FORETELL_CLONES void weigh_fma(const QueryTile& tile, float* out, AttentionRoom& room) {
  add_weights<VectorPieces<PairFma>>(tile, out, room);
}
FORETELL_CLONES void weigh_tiles(const QueryTile& tile, float* out, AttentionRoom& room) {
  add_weights<TilePieces>(tile, out, room);
}
FORETELL_CLONES void join_f32(const QueryTile& tile, const float* parts, std::int64_t value_wide, AttentionRoom& room) {
  join_tile<float>(tile, parts, value_wide, room);
}
FORETELL_CLONES void join_bf16(const QueryTile& tile, const float* parts, std::int64_t value_wide,
                               AttentionRoom& room) {
  join_tile<BFloat16>(tile, parts, value_wide, room);
}

#ifdef FORETELL_BF16_VECTORS
#define FORETELL_BF16_CODE __attribute__((target("arch=x86-64-v4,avx512bf16")))
FORETELL_BF16_CODE void run_dot(const AttentionTask& task, AttentionRoom& room) {
  run_task<VectorPieces<PairDot>>(task, room);
}
FORETELL_BF16_CODE void weigh_dot(const QueryTile& tile, float* out, AttentionRoom& room) {
  add_weights<VectorPieces<PairDot>>(tile, out, room);
}
bool processor_has_bf16_vectors() {
  return __builtin_cpu_supports("avx512bf16") != 0 && __builtin_cpu_supports("x86-64-v4") != 0;
}
#else
constexpr auto run_dot = run_fma;
constexpr auto weigh_dot = weigh_fma;
bool processor_has_bf16_vectors() { return false; }
#endif

std::optional<bool>& assumed_bf16() {
  static std::optional<bool> present;
  return present;
}

// A path's functions.
struct AttentionCode {
  void (*run)(const AttentionTask&, AttentionRoom&);
  void (*weigh)(const QueryTile&, float*, AttentionRoom&);
  void (*join)(const QueryTile&, const float*, std::int64_t, AttentionRoom&);
  std::int64_t (*wide_values)(std::int64_t);
};

AttentionCode path_for(at::ScalarType type) {
  if (type == at::kFloat) return {run_f32, weigh_f32, join_f32, VectorPieces<FloatFma>::wide_values};
  switch (attention_path(type)) {
    case AttentionPath::Tiles: return {run_tiles, weigh_tiles, join_bf16, TilePieces::wide_values};
    case AttentionPath::Bf16: return {run_dot, weigh_dot, join_bf16, whole_lanes};
    case AttentionPath::Fma: break;
  }
  return {run_fma, weigh_fma, join_bf16, whole_lanes};
}

HeadRows rows_of(const at::Tensor& all) {
  const auto type = all.scalar_type() == at::kFloat      ? HeadRows::Type::Float32
                    : all.scalar_type() == at::kBFloat16 ? HeadRows::Type::BFloat16
                                                         : HeadRows::Type::Int8;
  return {type, all.const_data_ptr(), all.size(2)};
}

AttentionJob job_of(const at::Tensor& queries, const CachedRows& cache, const AttentionMask& seen,
                    const HeadLayout& layout, double scale, void* out) {
  const auto element = static_cast<std::int64_t>(queries.element_size());
  const auto scales = [](const at::Tensor& of) { return of.defined() ? of.const_data_ptr<float>() : nullptr; };
  return {.queries = static_cast<const std::byte*>(queries.const_data_ptr()),
          .row_bytes = queries.stride(0) * element,
          .keys = rows_of(cache.keys),
          .values = rows_of(cache.values),
          .key_scales = scales(cache.key_scales),
          .value_scales = scales(cache.value_scales),
          .capacity = cache.keys.size(1),
          .dim = layout.head_dim,
          .value_dim = layout.value_dim(),
          .kv_heads = layout.kv_heads,
          .group = layout.heads / layout.kv_heads,
          .seen = &seen,
          .scale = static_cast<float>(scale),
          .out = static_cast<std::byte*>(out)};
}

// The queries from `first` on of one head.
QueryTile tile_of(const AttentionJob& job, int head, int first) {
  const AttentionMask& seen = *job.seen;
  QueryTile tile{&job, head, first, std::min(kTileQueries, job.count() - first), seen.first, seen.end};
  if (!seen.lowest.empty()) {
    const std::span<const int> rows(seen.lowest.begin() + tile.first_row(), seen.lowest.begin() + tile.last_row() + 1);
    tile.begin = std::max(seen.first, *std::ranges::min_element(rows));
  }
  if (job.is_tree()) tile.begin = std::min(tile.begin, job.tail());
  if (!seen.all && !job.is_tree()) tile.end = seen.chain_end(tile.last_row());
  return tile;
}

std::vector<QueryTile> tiles_of(std::span<const AttentionJob> jobs) {
  std::vector<QueryTile> tiles;
  // The last rows of a prompt see the most: first.
  for (const AttentionJob& job : jobs)
    for (int first = (job.count() - 1) / kTileQueries * kTileQueries; first >= 0; first -= kTileQueries)
      for (int head = 0; head < job.kv_heads; ++head) tiles.push_back(tile_of(job, head, first));
  return tiles;
}

// Calls each(i) for i in [0, count), on as many threads as are worth it, in about that order.
template <class F>
void on_threads(int count, bool serial, const F& each) {
  const int threads = serial ? 1 : std::min(at::get_num_threads(), count);
  std::atomic<int> next = 0;
  at::parallel_for(0, threads, 1, [&](std::int64_t, std::int64_t) {
    static thread_local AttentionRoom room;
    for (int i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) each(i, room);
  });
}

// A long cache's segments are shared out where there are not enough tiles for all threads. What a tree adds stays
// together.
std::vector<AttentionTask> tasks_of(std::span<const QueryTile> tiles, bool divided, const AttentionCode& path,
                                    std::vector<float>& parts) {
  std::vector<AttentionTask> tasks;
  std::vector<std::int64_t> places;
  std::int64_t size = 0;
  for (const QueryTile& tile : tiles) {
    const int segments = tile.segments();
    if (!divided || segments == 1) {
      tasks.push_back({tile, 0, segments, nullptr});
      places.push_back(-1);
      continue;
    }
    const int alone = tile.job->is_tree() ? tile.job->tail() / kJoined - tile.first_segment() : segments - 1;
    const std::int64_t width = path.wide_values(tile.job->value_dim) + kLanes;
    for (int s = 0; s <= std::max(alone, 0); ++s) {
      const int last = s >= alone ? segments : s + 1;
      tasks.push_back({tile, s, last, nullptr});
      places.push_back(size);
      size += (last - s) * tile.queries * width;
    }
  }
  if (parts.size() < static_cast<std::size_t>(size)) parts.resize(static_cast<std::size_t>(size));
  for (std::size_t i = 0; i < tasks.size(); ++i)
    if (places[i] >= 0) tasks[i].parts = parts.data() + places[i];
  return tasks;
}

std::int64_t multiplications(std::span<const AttentionJob> jobs) {
  std::int64_t all = 0;
  for (const AttentionJob& job : jobs)
    all += std::int64_t{job.count()} * (job.seen->end - job.seen->first) * job.dim * job.kv_heads;
  return all;
}

}  // namespace

AttentionPath attention_path(at::ScalarType type) {
  if (type != at::kBFloat16) return AttentionPath::Fma;
  if (has_tiles()) return AttentionPath::Tiles;
  static const bool vectors = processor_has_bf16_vectors();
  return assumed_bf16().value_or(vectors) ? AttentionPath::Bf16 : AttentionPath::Fma;
}

std::string_view name_of(AttentionPath path) {
  switch (path) {
    case AttentionPath::Tiles: return "amx_bf16";
    case AttentionPath::Bf16: return "avx512_bf16";
    case AttentionPath::Fma: break;
  }
  return "fma";
}

void assume_bf16_vectors(std::optional<bool> present) { assumed_bf16() = present; }

bool has_cached_attention(const at::Tensor& queries) {
  return queries.device().is_cpu() && queries.stride(1) == 1 &&
         (queries.scalar_type() == at::kFloat || queries.scalar_type() == at::kBFloat16);
}

void attend_rows(std::span<const AttendingRows> items, const HeadLayout& layout, double scale) {
  static thread_local std::vector<float> parts;
  static thread_local AttentionRoom own;
  std::vector<AttentionJob> jobs;
  for (const AttendingRows& item : items)
    jobs.push_back(job_of(item.queries, item.cache, *item.seen, layout, scale, item.out.mutable_data_ptr()));
  if (jobs.empty()) return;
  const AttentionCode path = path_for(items.front().queries.scalar_type());
  const std::vector<QueryTile> tiles = tiles_of(jobs);
  const bool serial = multiplications(jobs) < kSerialAttention || at::get_num_threads() == 1;
  const bool divided = !serial && static_cast<int>(tiles.size()) < kTasksPerThread * at::get_num_threads();
  const std::vector<AttentionTask> tasks = tasks_of(tiles, divided, path, parts);
  on_threads(static_cast<int>(tasks.size()), serial,
             [&](int i, AttentionRoom& room) { path.run(tasks[static_cast<std::size_t>(i)], room); });
  for (const AttentionTask& task : tasks)
    if (task.parts && task.first == 0) path.join(task.tile, task.parts, path.wide_values(layout.value_dim()), own);
}

at::Tensor attention_weights(const at::Tensor& queries, const CachedRows& cache, const AttentionMask& seen,
                             const HeadLayout& layout, double scale) {
  const std::int64_t columns = seen.end - seen.first;
  at::Tensor out = at::zeros({layout.kv_heads, queries.size(0), columns}, at::kFloat);
  const AttentionJob job = job_of(queries, cache, seen, layout, scale, nullptr);
  const AttentionCode path = path_for(queries.scalar_type());
  float* const to = out.mutable_data_ptr<float>();
  on_threads(layout.kv_heads, multiplications({&job, 1}) < kSerialAttention, [&](int head, AttentionRoom& room) {
    for (int first = 0; first < job.count(); first += kTileQueries)
      path.weigh(tile_of(job, head, first), to + head * queries.size(0) * columns, room);
  });
  return out;
}

}  // namespace foretell::kernels
