// How attention is divided: jobs, tiles of queries and tasks of a thread.
//
// Contract: pieces and segments lie at fixed places of the cache, whatever a tile or a task holds, so that a division
// changes no sum.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "framework/kernels/attention/attention_mask.h"
#include "framework/kernels/attention/attention_panels.h"

namespace foretell::kernels::attention {

constexpr int kJoined = 8 * kAttendedPiece;  // positions whose sums are joined with those of other segments at the end
constexpr int kTileQueries = 2 * kTileBlockRows;  // queries that a piece is laid out for, at most
constexpr float kHidden = -std::numeric_limits<float>::infinity();

inline std::int64_t up_to_whole(std::int64_t width, std::int64_t step) { return (width + step - 1) / step * step; }
inline std::int64_t whole_lanes(std::int64_t width) { return up_to_whole(width, kLanes); }

// One layer of one sequence. Query q of a key head is query head q % group of row q / group.
struct AttentionJob {
  const std::byte* queries;
  std::int64_t row_bytes;  // of the queries
  HeadRows keys, values;   // of head 0
  const float *key_scales, *value_scales;
  const int* columns;         // the rows that stand behind one another; null: all, as they lie
  std::int64_t head_columns;  // from one key head's to the next; 0: the same for all
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
  const int* columns_of(int head) const { return columns ? columns + head * head_columns : nullptr; }
  // Columns first, first + 1, ... of a head. Rows that lie behind one another are read where they lie.
  PieceRows piece(const HeadRows& all, int head, int first, int count) const {
    const int* const listed = columns ? columns_of(head) + first : nullptr;
    if (!listed) return {this->head(all, head), first, count};
    if (listed[count - 1] - listed[0] == count - 1) return {this->head(all, head), listed[0], count};
    return {this->head(all, head), 0, count, listed};
  }
  // Scales of the same columns, in `room` where they do not lie behind one another; null where rows have none.
  const float* scales(const float* all, int head, int first, int count, std::vector<float>& room) const {
    if (!all) return nullptr;
    all += head * capacity;
    if (!columns) return all + first;
    const int* const listed = columns_of(head) + first;
    room.resize(static_cast<std::size_t>(count));
    for (int c = 0; c < count; ++c) room[static_cast<std::size_t>(c)] = all[listed[c]];
    return room.data();
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
  // Whether any of its queries sees one of these positions, which lie below the rows' own.
  bool sees(int from, int to) const { return job->seen->any_sees(first_row(), last_row(), from, to); }
};

// A tile in segments [first, last), counted from its first.
struct AttentionTask {
  QueryTile tile;
  int first, last;
  float* parts;  // what it leaves; null: it is the whole tile, whose result it leaves

  bool has_tail() const { return tile.job->is_tree() && last == tile.segments(); }
};

// Buffers of a thread. A part is what is left of a segment for each query: the sum of weighted values, then the largest
// score, then the sum of weights.
struct AttentionRoom {
  LineBuffer queries, keys, values, weights, scores, tail, parts, copies, joined;
  std::vector<int> places, rows;
  std::vector<float> scales;
};

}  // namespace foretell::kernels::attention
