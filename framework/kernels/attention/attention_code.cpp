#include "framework/kernels/attention/attention_code.h"

#include "framework/kernels/attention/attention_path.h"
#include "framework/kernels/attention/attention_pieces.h"
#include "framework/kernels/attention/attention_softmax.h"

namespace foretell::kernels::attention {
namespace {

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wignored-attributes"

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
  const std::int64_t width = pieces.value_wide + kLanes;
  const int count = std::min(kAttendedPiece, end - piece);
  float* const scores = room.scores.at_least<float>(std::int64_t{tile.queries} * kAttendedPiece);
  pieces.score(job.piece(job.keys, tile.head, piece, count), tile.queries, scores, kAttendedPiece);
  const float* scales = job.scales(job.key_scales, tile.head, piece, count, room.scales);
  for (int q = 0; q < tile.queries; ++q) scale_scores(scores + q * kAttendedPiece, count, job.scale, scales);
  scales = job.scales(job.value_scales, tile.head, piece, count, room.scales);
  for (int q = 0; q < tile.queries; ++q) {
    float* const own = scores + q * kAttendedPiece;
    hide(*job.seen, (tile.first_query + q) / job.group, piece, count, own);
    weigh_into(own, part + q * width, pieces.value_wide);
    if (scales) scale_scores(own, count, 1.0f, scales);
  }
  pieces.take_weights(scores, tile.queries);
  pieces.take_values(job.piece(job.values, tile.head, piece, count));
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
    pieces.score(job.piece(job.keys, tile.head, piece, count), tile.queries, own, columns);
    const float* const scales = job.scales(job.key_scales, tile.head, piece, count, room.scales);
    for (int q = 0; q < tile.queries; ++q) scale_scores(own + q * columns, count, job.scale, scales);
  }
  return scores;
}

// Which column a row of a tree has at each place from the tail on, -1 where it sees none: its ancestors stand behind
// one another.
inline void find_places(const AttentionJob& job, int row, std::vector<int>& places) {
  const AttentionMask& seen = *job.seen;
  const int lowest = seen.lowest_of(row);
  places.clear();
  for (int column = job.tail(); column < std::max(seen.base, lowest); ++column)
    places.push_back(column < seen.base && column >= seen.first && seen.sees(row, column) ? column : -1);
  for (int column = seen.base; column < seen.end; ++column) {
    if (!seen.on_path(row, column)) continue;
    const int position = job.tail() + static_cast<int>(places.size());
    places.push_back(!seen.has_ranges() || seen.in_ranges(row, position) ? column : -1);
  }
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
    room.rows = room.places;
    if (const int* const columns = job.columns_of(tile.head))
      for (int& place : room.rows) place = place < 0 ? -1 : columns[place];
    for (int first = 0; first < found; first += kAttendedPiece) {
      const int count = std::min(kAttendedPiece, found - first);
      const int *const listed = room.places.data() + first, *const rows = room.rows.data() + first;
      float* const part =
          parts + (((job.tail() + first) / kJoined - first_segment) * std::int64_t{tile.queries} + q) * width;
      float* const scores = room.scores.at_least<float>(std::int64_t{alike} * kAttendedPiece);
      for (int i = 0; i < alike; ++i) {
        float* const own = scores + i * kAttendedPiece;
        for (int c = 0; c < kAttendedPiece; ++c)
          own[c] = c < count && listed[c] >= 0 ? all[(q + i) * columns + listed[c] - job.tail()] : kHidden;
        weigh_into(own, part + i * width, pieces.value_wide);
        for (int c = 0; job.value_scales && c < count; ++c)
          own[c] *= rows[c] < 0 ? 0.0f : job.value_scales[tile.head * job.capacity + rows[c]];
      }
      pieces.take_weights(scores, alike);
      pieces.take_values({job.head(job.values, tile.head), 0, count, rows});
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
      if (tile.sees(piece, std::min(piece + kAttendedPiece, end)))
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
    pieces.score(job.piece(job.keys, tile.head, piece, std::min(kAttendedPiece, seen.end - piece)), tile.queries,
                 scores + piece - begin, columns);
  const int count = seen.end - seen.first;
  const float* const scales = job.scales(job.key_scales, tile.head, seen.first, count, room.scales);
  for (int q = 0; q < tile.queries; ++q) {
    const int row = (tile.first_query + q) / job.group;
    float* const own = scores + q * columns + seen.first - begin;
    scale_scores(own, count, job.scale, scales);
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
#else
constexpr auto run_dot = run_fma;
constexpr auto weigh_dot = weigh_fma;
#endif

}  // namespace

AttentionCode attention_code(at::ScalarType type) {
  if (type == at::kFloat) return {run_f32, weigh_f32, join_f32, VectorPieces<FloatFma>::wide_values};
  switch (attention_path(type)) {
    case AttentionPath::Tiles: return {run_tiles, weigh_tiles, join_bf16, TilePieces::wide_values};
    case AttentionPath::Bf16: return {run_dot, weigh_dot, join_bf16, whole_lanes};
    case AttentionPath::Fma: break;
  }
  return {run_fma, weigh_fma, join_bf16, whole_lanes};
}

}  // namespace foretell::kernels::attention
