// What attention lays out anew of a piece of 64 rows of a cache: keys as panels of 16, whose sums then lie side by
// side, and values in pairs of rows.
//
// Contract: bfloat16 panels are those of tile_product.h, so that vectors and matrix tiles read the same; float32 panels
// have one input where those have a pair. int8 rows become the integers that they are, in either type. Rows that are
// missing in a piece, and elements beyond a row's width, are zero. While a piece is laid out the next is prefetched.
#pragma once

#include <c10/util/BFloat16.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "framework/kernels/lanes.h"
#include "framework/kernels/tile_product.h"

namespace foretell::kernels::attention {

constexpr int kAttendedPiece = 64;  // rows of the cache: four panels of keys, two steps of values

// Memory that is kept and grows, in whole lines of the cache.
class LineBuffer {
 public:
  template <class T>
  T* at_least(std::int64_t count) {
    const std::size_t lines = (static_cast<std::size_t>(count) * sizeof(T) + sizeof(Line) - 1) / sizeof(Line);
    if (lines_.size() < lines) lines_.resize(lines);
    return reinterpret_cast<T*>(lines_.data());
  }

 private:
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  std::vector<Line> lines_;
};

// Keys or values of one head, one row after the other.
struct HeadRows {
  enum class Type { Float32, BFloat16, Int8 };
  Type type = Type::Float32;
  const void* first = nullptr;
  std::int64_t width = 0;
};

// Rows first, first + 1, ... of a head, or those that are listed (-1: a row of zeros).
struct PieceRows {
  HeadRows of;
  int first = 0;
  int count = 0;  // at most a piece
  const int* listed = nullptr;
};

// -> four panels of 16 keys, [4][wide / 2][16] pairs; `wide`: the width in whole steps of 32.
void lay_out_keys(const PieceRows& keys, std::int64_t wide, std::uint32_t* to, LineBuffer& room);
// -> [4][wide][16]; `wide`: the width in whole lanes.
void lay_out_keys(const PieceRows& keys, std::int64_t wide, float* to, LineBuffer& room);
// -> wide / 16 panels of 16 columns, [wide / 16][32][16] pairs of rows.
void lay_out_values(const PieceRows& values, std::int64_t wide, std::uint32_t* to, LineBuffer& room);
// Rows as wide as whole lanes, `wide` apart: where they lie, if that is how they lie.
const float* value_rows(const PieceRows& values, std::int64_t wide, LineBuffer& room);

}  // namespace foretell::kernels::attention
