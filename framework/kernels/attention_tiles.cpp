#include "framework/kernels/attention_tiles.h"

#include <algorithm>
#include <cstring>

#include "framework/core/cpu_clones.h"
#include "framework/kernels/lanes.h"

namespace foretell::kernels {
namespace {

using at::BFloat16;

constexpr std::int64_t kPair = 2;  // inputs beside each other

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

}  // namespace

FORETELL_CLONES void lay_out_keys(const BFloat16* keys, int count, std::int64_t width, std::uint32_t* to) {
  const std::int64_t pairs = width / kPair;
  for (int first = 0; first < kAttendedPiece; first += kLanes) {
    std::uint32_t* const panel = to + first * pairs;
    for (std::int64_t pair = 0; pair < pairs; pair += kLanes) {
      Lanes words[kLanes];
#pragma GCC unroll 16
      for (int key = 0; key < kLanes; ++key) {
        if (first + key < count) {
          load_words(keys + (first + key) * width + pair * kPair, words[key]);
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

FORETELL_CLONES void lay_out_values(const BFloat16* values, int count, std::int64_t width, std::uint32_t* to) {
  static const BFloat16 kMissing[kTileOutputs] = {};
  for (std::int64_t first = 0; first < width; first += kTileOutputs) {
    for (int row = 0; row < kAttendedPiece; row += kPair, to += kTileOutputs) {
      const BFloat16* const even = row < count ? values + row * width + first : kMissing;
      const BFloat16* const odd = row + 1 < count ? values + (row + 1) * width + first : kMissing;
#pragma omp simd
      for (std::int64_t i = 0; i < kTileOutputs; ++i) to[i] = even[i].x | std::uint32_t{odd[i].x} << 16;
    }
  }
}

void lay_out_query(const BFloat16* query, int row, int rows, std::int64_t width, BFloat16* to) {
  const int tiles = TileBlock{nullptr, rows}.tiles();
  for (std::int64_t step = 0; step < width / kTileInputs; ++step)
    std::memcpy(to + (step * tiles * kTileRows + row) * kTileInputs, query + step * kTileInputs,
                kTileInputs * sizeof(BFloat16));
}

FORETELL_CLONES void lay_out_weights(const float* weights, int rows, BFloat16* to) {
  const std::int64_t step_size = std::int64_t{TileBlock{nullptr, rows}.tiles()} * kTileRows * kTileInputs;
  for (int row = 0; row < rows; ++row) {
    for (int i = 0; i < kAttendedPiece; i += kLanes) {
      Lanes lanes;
      load(weights + row * kAttendedPiece + i, lanes);
      store(to + i / kTileInputs * step_size + row * kTileInputs + i % kTileInputs, lanes);
    }
  }
}

}  // namespace foretell::kernels
