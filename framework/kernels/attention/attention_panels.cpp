#include "framework/kernels/attention/attention_panels.h"

#include <algorithm>
#include <cstring>

#include "framework/core/cpu_clones.h"
#include "framework/kernels/lanes.h"

namespace foretell::kernels::attention {
namespace {

using at::BFloat16;

constexpr std::int64_t kRowPair = 2;     // inputs beside each other
constexpr std::int64_t kCacheLine = 64;  // bytes

// Words as lanes: they are moved, never computed with.
FORETELL_INLINE void load_words(const void* from, Lanes& to) { std::memcpy(&to, from, sizeof to); }
FORETELL_INLINE void store_words(void* to, const Lanes& from) { std::memcpy(to, &from, sizeof from); }

// Row i of the result is column i: halves of halves change places until single words have.
FORETELL_INLINE void transpose(Lanes (&v)[kLanes]) {
  Lanes a[kLanes];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    a[i] = __builtin_shufflevector(v[i], v[i + 8], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
    a[i + 8] = __builtin_shufflevector(v[i], v[i + 8], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  }
#pragma GCC unroll 2
  for (int h = 0; h < kLanes; h += 8) {
#pragma GCC unroll 4
    for (int i = h; i < h + 4; ++i) {
      v[i] = __builtin_shufflevector(a[i], a[i + 4], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
      v[i + 4] = __builtin_shufflevector(a[i], a[i + 4], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
    }
  }
#pragma GCC unroll 4
  for (int h = 0; h < kLanes; h += 4) {
#pragma GCC unroll 2
    for (int i = h; i < h + 2; ++i) {
      a[i] = __builtin_shufflevector(v[i], v[i + 2], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
      a[i + 2] = __builtin_shufflevector(v[i], v[i + 2], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kLanes; i += 2) {
    v[i] = __builtin_shufflevector(a[i], a[i + 1], 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30);
    v[i + 1] = __builtin_shufflevector(a[i], a[i + 1], 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
  }
}

// A row of the piece after this one, which is read next.
FORETELL_INLINE void prefetch(const void* row, std::int64_t bytes) {
  const auto* at = static_cast<const char*>(row) + kAttendedPiece * bytes;
  for (std::int64_t line = 0; line < bytes; line += kCacheLine) __builtin_prefetch(at + line);
}

FORETELL_INLINE void copy_row(const BFloat16* from, std::int64_t width, BFloat16* to) {
  std::memcpy(to, from, static_cast<std::size_t>(width) * sizeof(BFloat16));
}
FORETELL_INLINE void copy_row(const float* from, std::int64_t width, float* to) {
  std::memcpy(to, from, static_cast<std::size_t>(width) * sizeof(float));
}
FORETELL_INLINE void copy_row(const std::int8_t* from, std::int64_t width, float* to) {
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i) to[i] = static_cast<float>(from[i]);
}
FORETELL_INLINE void copy_row(const std::int8_t* from, std::int64_t width, BFloat16* to) {
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i) {
    const auto value = static_cast<float>(from[i]);  // exact
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    to[i].x = static_cast<std::uint16_t>(bits >> 16);
  }
}

// A whole piece's rows, `wide` apart, filled up with zeros.
template <class From, class To>
FORETELL_INLINE void copy_rows(const PieceRows& rows, std::int64_t wide, To* to) {
  const auto* first = static_cast<const From*>(rows.of.first);
  const std::int64_t width = rows.of.width;
  for (int i = 0; i < kAttendedPiece; ++i, to += wide) {
    const int row = i >= rows.count ? -1 : rows.listed ? rows.listed[i] : rows.first + i;
    if (row >= 0) {
      copy_row(first + row * width, width, to);
      prefetch(first + row * width, width * static_cast<std::int64_t>(sizeof(From)));
    }
    std::fill(to + (row < 0 ? 0 : width), to + wide, To(0));
  }
}

FORETELL_CLONES void copy_piece(const PieceRows& rows, std::int64_t wide, BFloat16* to) {
  rows.of.type == HeadRows::Type::Int8 ? copy_rows<std::int8_t>(rows, wide, to) : copy_rows<BFloat16>(rows, wide, to);
}
FORETELL_CLONES void copy_piece(const PieceRows& rows, std::int64_t wide, float* to) {
  rows.of.type == HeadRows::Type::Int8 ? copy_rows<std::int8_t>(rows, wide, to) : copy_rows<float>(rows, wide, to);
}

// Rows of a piece that lie `wide` apart, where they lie if that is how they lie there.
struct LyingRows {
  const BFloat16* first;
  int count;
  bool in_cache;
};

LyingRows lying(const PieceRows& rows, std::int64_t wide, LineBuffer& room) {
  if (rows.of.type == HeadRows::Type::BFloat16 && rows.of.width == wide && !rows.listed)
    return {static_cast<const BFloat16*>(rows.of.first) + rows.first * wide, rows.count, true};
  auto* to = room.at_least<BFloat16>(kAttendedPiece * wide);
  copy_piece(rows, wide, to);
  return {to, kAttendedPiece, false};
}

FORETELL_CLONES void transpose_pairs(const LyingRows& keys, std::int64_t wide, std::uint32_t* to) {
  const std::int64_t pairs = wide / kRowPair;
  for (int first = 0; first < kAttendedPiece; first += kLanes) {
    std::uint32_t* const panel = to + first * pairs;
    for (std::int64_t pair = 0; pair < pairs; pair += kLanes) {
      Lanes words[kLanes];
#pragma GCC unroll 16
      for (int key = 0; key < kLanes; ++key) {
        const BFloat16* const from = keys.first + (first + key) * wide + pair * kRowPair;
        if (first + key < keys.count) {
          load_words(from, words[key]);
          if (keys.in_cache) __builtin_prefetch(from + kAttendedPiece * wide);
        } else {
          words[key] = Lanes{};
        }
      }
      transpose(words);
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) store_words(panel + (pair + i) * kTileOutputs, words[i]);
    }
  }
}

FORETELL_CLONES void transpose_floats(const float* keys, int count, std::int64_t wide, float* to) {
  for (int first = 0; first < kAttendedPiece; first += kLanes, to += kLanes * wide) {
    for (std::int64_t i = 0; i < wide; i += kLanes) {
      Lanes words[kLanes];
#pragma GCC unroll 16
      for (int key = 0; key < kLanes; ++key) {
        const float* const from = keys + (first + key) * wide + i;
        if (first + key < count) {
          load(from, words[key]);
          __builtin_prefetch(from + kAttendedPiece * wide);
        } else {
          words[key] = Lanes{};
        }
      }
      transpose(words);
#pragma GCC unroll 16
      for (int input = 0; input < kLanes; ++input) store(to + (i + input) * kLanes, words[input]);
    }
  }
}

FORETELL_CLONES void pair_rows(const LyingRows& values, std::int64_t wide, std::uint32_t* to) {
  static const BFloat16 kMissing[kTileOutputs] = {};
  for (int row = 0; row < kAttendedPiece; row += kRowPair, to += kTileOutputs) {
    for (std::int64_t first = 0; first < wide; first += kTileOutputs) {
      const BFloat16* const even = row < values.count ? values.first + row * wide + first : kMissing;
      const BFloat16* const odd = row + 1 < values.count ? values.first + (row + 1) * wide + first : kMissing;
      std::uint32_t* const words = to + first * (kAttendedPiece / kRowPair);
      if (values.in_cache) {
        __builtin_prefetch(even + kAttendedPiece * wide);
        __builtin_prefetch(odd + kAttendedPiece * wide);
      }
#pragma omp simd
      for (std::int64_t i = 0; i < kTileOutputs; ++i) words[i] = even[i].x | std::uint32_t{odd[i].x} << 16;
    }
  }
}

}  // namespace

void lay_out_keys(const PieceRows& keys, std::int64_t wide, std::uint32_t* to, LineBuffer& room) {
  transpose_pairs(lying(keys, wide, room), wide, to);
}

void lay_out_keys(const PieceRows& keys, std::int64_t wide, float* to, LineBuffer& room) {
  transpose_floats(value_rows(keys, wide, room), keys.count, wide, to);
}

void lay_out_values(const PieceRows& values, std::int64_t wide, std::uint32_t* to, LineBuffer& room) {
  pair_rows(lying(values, wide, room), wide, to);
}

const float* value_rows(const PieceRows& values, std::int64_t wide, LineBuffer& room) {
  if (values.of.type == HeadRows::Type::Float32 && values.of.width == wide && !values.listed)
    return static_cast<const float*>(values.of.first) + values.first * wide;
  auto* to = room.at_least<float>(kAttendedPiece * wide);
  copy_piece(values, wide, to);
  return to;
}

}  // namespace foretell::kernels::attention
