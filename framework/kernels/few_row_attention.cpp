#include "framework/kernels/few_row_attention.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "framework/core/cpu_clones.h"
#include "framework/kernels/attention_tiles.h"
#include "framework/kernels/fast_exp.h"
#include "framework/kernels/lanes.h"

namespace foretell::kernels {
namespace {

using at::BFloat16;

constexpr std::int64_t kMostQueryRows = 64;  // above, products of large matrices are worth their preparation
constexpr int kPiece = kAttendedPiece;       // cache rows whose softmax is taken together
constexpr int kSegment = 8 * kPiece;         // cache rows that one task goes over
constexpr int kQueries = 4;                  // that are multiplied side by side, at most
constexpr int kTile = 32;                    // queries of a task, at most
constexpr std::int64_t kSerialAttention = 1
                                          << 17;  // multiplications below which a second thread is not worth its start
constexpr float kHidden = -std::numeric_limits<float>::infinity();

std::int64_t whole_lanes(std::int64_t width) { return (width + kLanes - 1) / kLanes * kLanes; }

// One layer of one item. Query q of a key head is query head q % group of row q / group.
template <class T>
struct AttentionJob {
  const T* queries;
  std::int64_t row_stride;  // of the queries
  const T* keys;            // [kv_heads, capacity, dim]
  const T* values;          // [kv_heads, capacity, value_dim]
  std::int64_t capacity, dim, value_dim;
  int kv_heads, group;
  const AttentionMask* seen;
  float scale;
  int first_segment, segments, tiles;
  bool by_tiles;  // the processor's

  int count() const { return seen->rows * group; }
  int tasks() const { return kv_heads * segments * tiles; }
  // What a task leaves: for each query the sum of weighted values, then the largest score, then the sum of weights.
  std::int64_t part_width() const { return whole_lanes(value_dim) + kLanes; }
};

struct Room {
  std::vector<float> queries, block, scores, factors;
  // By tiles: rows and weights as blocks, keys and values as panels.
  std::vector<BFloat16> query_tiles, weight_tiles;
  std::vector<std::uint32_t> panels;
};

// Whether rows of the cache are used where they lie: others are widened first, which pays if several groups of queries
// use them, and makes up for widths and numbers of rows that are not whole lanes.
template <class T>
FORETELL_INLINE bool fits(int count, std::int64_t width, int queries) {
  return whole_lanes(width) == width && count % kLanes == 0 && (std::is_same_v<T, float> || queries <= kQueries);
}

// `count` rows of the cache in float32, as wide as whole lanes and filled up with zeros.
template <class T>
FORETELL_INLINE const float* widened(const T* rows, int count, std::int64_t width, std::vector<float>& room) {
  const std::int64_t wide = whole_lanes(width);
  room.resize(static_cast<std::size_t>(kPiece * wide));
  for (int row = 0; row < count; ++row) {
    float* to = room.data() + row * wide;
    const T* from = rows + row * width;
    std::int64_t i = 0;
    for (; i + kLanes <= width; i += kLanes) {
      Lanes lanes;
      load(from + i, lanes);
      store(to + i, lanes);
    }
    for (; i < wide; ++i) to[i] = i < width ? load_one(from + i) : 0.0f;
  }
  std::fill(room.data() + count * wide, room.data() + whole_lanes(count) * wide, 0.0f);
  return room.data();
}

// scores[q][c] = query q . key c for Q queries and as many keys at a time as there are sums for.
template <int Q, class K>
FORETELL_INLINE void score(const float* queries, const K* keys, int key_count, std::int64_t wide, float* scores) {
  constexpr int kKeys = kLanes / Q;
  for (int c = 0; c < key_count; c += kKeys) {
    Lanes sums[kLanes] = {};
    for (std::int64_t i = 0; i < wide; i += kLanes) {
      Lanes query[Q];
#pragma GCC unroll 4
      for (int a = 0; a < Q; ++a) load(queries + a * wide + i, query[a]);
#pragma GCC unroll 16
      for (int b = 0; b < kKeys; ++b) {
        Lanes key;
        load(keys + (c + b) * wide + i, key);
#pragma GCC unroll 4
        for (int a = 0; a < Q; ++a) sums[a * kKeys + b] += query[a] * key;
      }
    }
    Lanes all;
    sums_of_lanes(sums, all);
    float out[kLanes];
    store(out, all);
    for (int a = 0; a < Q; ++a) std::memcpy(scores + a * kPiece + c, out + a * kKeys, kKeys * sizeof(float));
  }
}

template <class K>
FORETELL_INLINE void score_all(Room& room, int queries, const K* keys, int count, std::int64_t wide) {
  const float* from = room.queries.data();
  float* scores = room.scores.data();
  int q = 0;
  for (; q + kQueries <= queries; q += kQueries)
    score<kQueries>(from + q * wide, keys, count, wide, scores + q * kPiece);
  if (q + 2 <= queries) {
    score<2>(from + q * wide, keys, count, wide, scores + q * kPiece);
    q += 2;
  }
  if (q < queries) score<1>(from + q * wide, keys, count, wide, scores + q * kPiece);
}

// Scores of one query become weights; returns what the sums so far are to be multiplied with. There is room for whole
// lanes. Lane by lane, because a compiler's own reductions go through the sixteen lanes one after the other.
FORETELL_INLINE float weigh(float* scores, int count, float& largest, float& sum) {
  float tops[kLanes];
  std::fill_n(tops, kLanes, largest);
  std::fill(scores + count, scores + whole_lanes(count), kHidden);
  for (int c = 0; c < count; c += kLanes) {
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
    std::fill_n(scores, count, 0.0f);
    return 1.0f;
  }
  Lanes total{};
  for (int c = 0; c < count; c += kLanes) {
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

// sums[q] = sums[q] * factor[q] + weights[q] . values, for Q queries over N lanes of the values' width.
template <int Q, int N, class V>
FORETELL_INLINE void mix(const float* weights, const float* factors, const V* values, int count, std::int64_t wide,
                         float* sums, std::int64_t stride) {
  Lanes total[Q][N];
#pragma GCC unroll 4
  for (int a = 0; a < Q; ++a) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      load(sums + a * stride + n * kLanes, total[a][n]);
      total[a][n] *= factors[a];
    }
  }
  for (int c = 0; c < count; ++c) {
    Lanes value[N];
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) load(values + c * wide + n * kLanes, value[n]);
#pragma GCC unroll 4
    for (int a = 0; a < Q; ++a) {
      const float weight = weights[a * kPiece + c];
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) total[a][n] += weight * value[n];
    }
  }
#pragma GCC unroll 4
  for (int a = 0; a < Q; ++a) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) store(sums + a * stride + n * kLanes, total[a][n]);
  }
}

// The same over the whole width.
template <int Q, class V>
FORETELL_INLINE void mix_wide(const Room& room, int q, const V* values, int count, std::int64_t wide, float* part,
                              std::int64_t stride) {
  const float *weights = room.scores.data() + q * kPiece, *factors = room.factors.data() + q;
  float* to = part + q * stride;
  std::int64_t i = 0;
  for (; i + 4 * kLanes <= wide; i += 4 * kLanes) mix<Q, 4>(weights, factors, values + i, count, wide, to + i, stride);
  for (; i + 2 * kLanes <= wide; i += 2 * kLanes) mix<Q, 2>(weights, factors, values + i, count, wide, to + i, stride);
  for (; i < wide; i += kLanes) mix<Q, 1>(weights, factors, values + i, count, wide, to + i, stride);
}

template <class V>
FORETELL_INLINE void mix_all(const Room& room, int queries, const V* values, int count, std::int64_t wide, float* part,
                             std::int64_t stride) {
  int q = 0;
  for (; q + kQueries <= queries; q += kQueries) mix_wide<kQueries>(room, q, values, count, wide, part, stride);
  if (q + 2 <= queries) {
    mix_wide<2>(room, q, values, count, wide, part, stride);
    q += 2;
  }
  if (q < queries) mix_wide<1>(room, q, values, count, wide, part, stride);
}

template <class T>
FORETELL_INLINE void hide(const AttentionJob<T>& job, int query, int begin, int count, float* scores) {
  const AttentionMask& seen = *job.seen;
  if (seen.all && begin >= seen.first) return;
  const int row = query / job.group;
  if (begin >= seen.lowest_of(row) && begin + count <= seen.base) return;
  for (int c = 0; c < count; ++c)
    if (begin + c < seen.first || !(seen.all || seen.sees(row, begin + c))) scores[c] = kHidden;
}

// What a task goes over: some queries of one head, in one segment of the cache.
struct Task {
  int head, first_query, queries, begin, end;
};

template <class T>
Task task_of(const AttentionJob<T>& job, int task) {
  const int tile = task / job.segments % job.tiles, segment = job.first_segment + task % job.segments;
  return {.head = task / (job.segments * job.tiles),
          .first_query = tile * kTile,
          .queries = std::min(kTile, job.count() - tile * kTile),
          .begin = std::max(segment * kSegment, job.seen->first / kPiece * kPiece),
          .end = std::min((segment + 1) * kSegment, job.seen->end)};
}

template <class T>
const T* query_of(const AttentionJob<T>& job, const Task& task, int q) {
  const int query = task.first_query + q;
  return job.queries + query / job.group * job.row_stride + (task.head * job.group + query % job.group) * job.dim;
}

template <class T>
FORETELL_INLINE void begin_task(const AttentionJob<T>& job, const Task& task, float* part, Room& room) {
  const std::int64_t width = job.part_width(), state = width - kLanes;
  room.scores.resize(std::size_t{kPiece} * static_cast<std::size_t>(task.queries));
  room.factors.assign(static_cast<std::size_t>(task.queries), 0.0f);
  std::fill_n(part, task.queries * width, 0.0f);
  for (int q = 0; q < task.queries; ++q) part[q * width + state] = kHidden;
}

// Scores become weights, and each query's factor what its sums so far are to be multiplied with.
template <class T>
FORETELL_INLINE void weigh_all(const AttentionJob<T>& job, const Task& task, int piece, int count, float* part,
                               Room& room) {
  const std::int64_t width = job.part_width();
  for (int q = 0; q < task.queries; ++q) {
    float* scores = room.scores.data() + q * kPiece;
    float* state = part + (q + 1) * width - kLanes;
    hide(job, task.first_query + q, piece, count, scores);
    room.factors[static_cast<std::size_t>(q)] = weigh(scores, count, state[0], state[1]);
  }
}

template <class T>
FORETELL_INLINE void run_task(const AttentionJob<T>& job, int number, float* part, Room& room) {
  const Task task = task_of(job, number);
  const std::int64_t wide = whole_lanes(job.dim), value_wide = whole_lanes(job.value_dim), width = job.part_width();
  room.queries.assign(static_cast<std::size_t>(task.queries * wide), 0.0f);
  for (int q = 0; q < task.queries; ++q) {
    const T* from = query_of(job, task, q);
    for (std::int64_t i = 0; i < job.dim; ++i)
      room.queries[static_cast<std::size_t>(q * wide + i)] = load_one(from + i) * job.scale;
  }
  begin_task(job, task, part, room);
  for (int piece = task.begin; piece < task.end; piece += kPiece) {
    const int count = std::min(kPiece, task.end - piece);
    const T* keys = job.keys + (task.head * job.capacity + piece) * job.dim;
    if (fits<T>(count, job.dim, task.queries)) {
      score_all(room, task.queries, keys, count, wide);
    } else {
      score_all(room, task.queries, widened(keys, count, job.dim, room.block), count, wide);
    }
    weigh_all(job, task, piece, count, part, room);
    const T* values = job.values + (task.head * job.capacity + piece) * job.value_dim;
    if (fits<T>(count, job.value_dim, task.queries)) {
      mix_all(room, task.queries, values, count, value_wide, part, width);
    } else {
      mix_all(room, task.queries, widened(values, count, job.value_dim, room.block), count, value_wide, part, width);
    }
  }
}

// The same by the processor's tiles: weights are rounded before values are multiplied with them, their sum is not.
FORETELL_INLINE void run_by_tiles(const AttentionJob<BFloat16>& job, int number, float* part, Room& room) {
  const Task task = task_of(job, number);
  const int queries = task.queries, tiles = TileBlock{nullptr, queries}.tiles();
  const std::int64_t width = job.part_width(), key_panel = job.dim / 2 * kTileOutputs,
                     value_panel = kPiece / 2 * kTileOutputs;
  room.query_tiles.resize(static_cast<std::size_t>(tiles * kTileRows * job.dim));
  room.weight_tiles.resize(static_cast<std::size_t>(tiles) * kTileRows * kPiece);
  room.panels.resize(
      static_cast<std::size_t>(std::max(AmxContext::kPanels * key_panel, job.value_dim / kTileOutputs * value_panel)));
  for (int q = 0; q < queries; ++q) lay_out_query(query_of(job, task, q), q, queries, job.dim, room.query_tiles.data());
  begin_task(job, task, part, room);
  const auto panels_at = [&](std::int64_t number_of_words, std::int64_t stride, std::int64_t steps) {
    return AmxContext::Panels{reinterpret_cast<const std::byte*>(room.panels.data() + number_of_words),
                              stride * static_cast<std::int64_t>(sizeof(std::uint32_t)), steps, false};
  };
  AmxContext session;
  for (int piece = task.begin; piece < task.end; piece += kPiece) {
    const int count = std::min(kPiece, task.end - piece);
    lay_out_keys(job.keys + (task.head * job.capacity + piece) * job.dim, count, job.dim, room.panels.data());
    session.multiply(std::array{TileBlock{room.query_tiles.data(), queries}},
                     panels_at(0, key_panel, job.dim / kTileInputs), false, {room.scores.data(), kPiece, kTileOutputs});
    float* const scores = room.scores.data();
#pragma omp simd
    for (int i = 0; i < queries * kPiece; ++i) scores[i] *= job.scale;
    weigh_all(job, task, piece, count, part, room);
    for (int q = 0; q < queries; ++q) {
      const float factor = room.factors[static_cast<std::size_t>(q)];
      float* const sums = part + q * width;
      std::fill(scores + q * kPiece + count, scores + (q + 1) * kPiece, 0.0f);
#pragma omp simd
      for (std::int64_t i = 0; i < job.value_dim; ++i) sums[i] *= factor;
    }
    lay_out_weights(scores, queries, room.weight_tiles.data());
    lay_out_values(job.values + (task.head * job.capacity + piece) * job.value_dim, count, job.value_dim,
                   room.panels.data());
    for (std::int64_t column = 0; column < job.value_dim; column += AmxContext::kPanels * kTileOutputs)
      session.multiply(std::array{TileBlock{room.weight_tiles.data(), queries}},
                       panels_at(column / kTileOutputs * value_panel, value_panel, kPiece / kTileInputs), true,
                       {part + column, width, kTileOutputs});
  }
}

FORETELL_CLONES void run_f32(const AttentionJob<float>& job, int task, float* part, Room& room) {
  run_task(job, task, part, room);
}
FORETELL_CLONES void run_bf16(const AttentionJob<BFloat16>& job, int task, float* part, Room& room) {
  run_task(job, task, part, room);
}
FORETELL_CLONES void run_tiles(const AttentionJob<BFloat16>& job, int task, float* part, Room& room) {
  run_by_tiles(job, task, part, room);
}
void run(const AttentionJob<float>& job, int task, float* part, Room& room) { run_f32(job, task, part, room); }
void run(const AttentionJob<BFloat16>& job, int task, float* part, Room& room) {
  (job.by_tiles ? run_tiles : run_bf16)(job, task, part, room);
}

// The segments of one query, in their order; a segment in which it saw nothing changes nothing. `joined` has room for a
// row of values.
template <class T>
FORETELL_INLINE void join(const AttentionJob<T>& job, const float* parts, float* joined, T* out) {
  const std::int64_t width = job.part_width(), stride = kTile * width, state = width - kLanes;
  float largest = kHidden, sum = 0;
  for (int s = 0; s < job.segments; ++s) largest = std::max(largest, parts[s * stride + state]);
  std::fill_n(joined, job.value_dim, 0.0f);
  for (int s = 0; s < job.segments; ++s) {
    const float* part = parts + s * stride;
    if (part[state] == kHidden) continue;
    const float factor = part[state] == largest ? 1.0f : fast_exp(part[state] - largest);
    sum += factor * part[state + 1];
#pragma omp simd
    for (std::int64_t i = 0; i < job.value_dim; ++i) joined[i] += factor * part[i];
  }
  const float inverse = 1.0f / sum;
#pragma omp simd
  for (std::int64_t i = 0; i < job.value_dim; ++i) store_one(out + i, joined[i] * inverse);
}

template <class T>
FORETELL_INLINE void join_heads(const AttentionJob<T>& job, const float* parts, float* joined, T* out) {
  const std::int64_t width = job.part_width();
  for (int head = 0; head < job.kv_heads; ++head) {
    for (int query = 0; query < job.count(); ++query) {
      const std::int64_t first = (std::int64_t{head} * job.tiles + query / kTile) * job.segments * kTile;
      T* row =
          out + ((query / job.group) * std::int64_t{job.kv_heads * job.group} + head * job.group + query % job.group) *
                    job.value_dim;
      join(job, parts + (first + query % kTile) * width, joined, row);
    }
  }
}

FORETELL_CLONES void join_f32(const AttentionJob<float>& job, const float* parts, float* joined, float* out) {
  join_heads(job, parts, joined, out);
}
FORETELL_CLONES void join_bf16(const AttentionJob<BFloat16>& job, const float* parts, float* joined, BFloat16* out) {
  join_heads(job, parts, joined, out);
}
void join_all(const AttentionJob<float>& job, const float* parts, float* joined, float* out) {
  join_f32(job, parts, joined, out);
}
void join_all(const AttentionJob<BFloat16>& job, const float* parts, float* joined, BFloat16* out) {
  join_bf16(job, parts, joined, out);
}

template <class T>
void attend_rows(const AttentionJob<T>& job, T* out) {
  static thread_local std::vector<float> parts, joined;
  const std::int64_t width = job.part_width(), part_size = kTile * width;
  parts.resize(static_cast<std::size_t>(job.tasks() * part_size));
  float* const to = parts.data();
  const std::int64_t work = std::int64_t{kTile} * kSegment * job.dim;
  const std::int64_t whole = std::int64_t{job.count()} * (job.seen->end - job.seen->first) * job.dim * job.kv_heads;
  const std::int64_t grain =
      whole < kSerialAttention ? job.tasks() : std::max<std::int64_t>(1, kSerialAttention / work);
  at::parallel_for(0, job.tasks(), grain, [&](std::int64_t begin, std::int64_t end) {
    static thread_local Room room;
    for (std::int64_t task = begin; task < end; ++task) run(job, static_cast<int>(task), to + task * part_size, room);
  });
  joined.resize(static_cast<std::size_t>(job.value_dim));
  join_all(job, to, joined.data(), out);
}

template <class T>
void attend_typed(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                  const AttentionMask& seen, const HeadLayout& layout, double scale, at::Tensor& out) {
  AttentionJob<T> job{.queries = queries.const_data_ptr<T>(),
                      .row_stride = queries.stride(0),
                      .keys = keys.const_data_ptr<T>(),
                      .values = values.const_data_ptr<T>(),
                      .capacity = keys.size(1),
                      .dim = layout.head_dim,
                      .value_dim = layout.value_dim(),
                      .kv_heads = layout.kv_heads,
                      .group = layout.heads / layout.kv_heads,
                      .seen = &seen,
                      .scale = static_cast<float>(scale),
                      .first_segment = seen.first / kSegment,
                      .segments = 0,
                      .tiles = 0,
                      .by_tiles = std::is_same_v<T, BFloat16> && seen.rows > kVectorRows && has_tiles() &&
                                  layout.head_dim % kTileInputs == 0 && layout.value_dim() % (2 * kTileInputs) == 0};
  job.segments = (seen.end + kSegment - 1) / kSegment - job.first_segment;
  job.tiles = (job.count() + kTile - 1) / kTile;
  attend_rows(job, out.mutable_data_ptr<T>());
}

}  // namespace

bool has_few_row_attention(const at::Tensor& queries) {
  return queries.device().is_cpu() && queries.size(0) <= kMostQueryRows && queries.stride(1) == 1 &&
         (queries.scalar_type() == at::kFloat || queries.scalar_type() == at::kBFloat16);
}

at::Tensor attend_few_rows(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                           const AttentionMask& seen, const HeadLayout& layout, double scale) {
  at::Tensor out = at::empty({queries.size(0), std::int64_t{layout.heads} * layout.value_dim()}, queries.options());
  queries.scalar_type() == at::kFloat ? attend_typed<float>(queries, keys, values, seen, layout, scale, out)
                                      : attend_typed<BFloat16>(queries, keys, values, seen, layout, scale, out);
  return out;
}

}  // namespace foretell::kernels
