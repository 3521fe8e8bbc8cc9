// Products of bfloat16 rows with panels of a PackedMatrix by the processor's matrix tiles (AMX).
//
// Contract: a panel is 16 outputs: for every two inputs 16 pairs, one an output (packed_matrix.h). The number of inputs
// is a multiple of 32. Each output of each row is one sum, whatever the number of rows and the pieces that it is formed
// in: of every 32 inputs, in their order, those with even and those with odd numbers are summed up apart (products are
// exact in float32), both sums are added, and then added to the running sum; denormal numbers count as zero. Few rows
// go through vectors, which are told to do the same (tile_order.h).
//
// Why rows are laid out anew: rows of 2,048 inputs lie 4 KiB apart, so that the sixteen lines of a tile share one set
// of the first cache. As tiles one after the other 32 rows take 99 ms over 2.4 GB of panels where they took 126 in
// place (the loop by itself on 2 processors of a 2.6 GHz Xeon; reading alone takes 80).
//
// Reference: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, TDPBF16PS.
#pragma once

#include <c10/util/BFloat16.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace foretell::kernels {

constexpr std::int64_t kTileInputs = 32;   // a step: what one tile holds of a row
constexpr std::int64_t kTileOutputs = 16;  // a panel
constexpr int kTileRows = 16;
constexpr int kVectorRows = 5;  // up to so many rows weights arrive no faster than vectors multiply them: no tiles
constexpr int kTileBlockRows = 2 * kTileRows;  // that go over panels together

// Whether this process may use tiles: the processor has them, the system grants them, and a small product came out
// right. Asked once.
bool has_tiles();
// Whether a small product by tiles comes out right. Only where there are some.
bool tiles_come_out_right();
// What has_tiles() answers from now on, without an argument the truth again: for tests, which emulate tiles.
void assume_tiles(std::optional<bool> present);

// Up to 64 rows as tiles: for every step 16 rows, and where there are more, 16 others, and so on. Rows that are not
// used are undefined.
struct TileBlock {
  const at::BFloat16* x = nullptr;
  int rows = 0;

  int tiles() const { return (rows + kTileRows - 1) / kTileRows; }
  // From a later step on.
  TileBlock from(std::int64_t step) const { return {x + step * tiles() * kTileRows * kTileInputs, rows}; }
};

// Rows laid out as blocks of one height, of at most 32; the last may have rows that are not used. Kept by its owner, so
// that memory is asked for once.
class TileRows {
 public:
  // x [rows, inputs].
  void lay_out(const at::BFloat16* x, std::int64_t rows, std::int64_t inputs);
  std::span<const TileBlock> blocks() const { return blocks_; }
  std::int64_t height() const { return height_; }
  std::int64_t padded_rows() const { return height_ * static_cast<std::int64_t>(blocks_.size()); }

 private:
  struct alignas(64) Line {  // of the cache: a tile's row
    at::BFloat16 x[kTileInputs];
  };
  std::vector<Line> lines_;
  std::vector<TileBlock> blocks_;
  std::int64_t height_ = 0;
};

// A thread's tiles; given back at the end.
class AmxContext {
 public:
  AmxContext() = default;
  ~AmxContext();
  AmxContext(const AmxContext&) = delete;
  AmxContext& operator=(const AmxContext&) = delete;

  static constexpr int kPanels = 4;  // that are multiplied at a time
  struct Panels {
    const std::byte* first = nullptr;
    std::int64_t stride = 0;  // bytes from one to the next
    std::int64_t steps = 0;
    bool from_memory = false;  // rather than from a cache
  };
  // Where sums go: that of row r with output o of panel p to at[p * panel + r * row + o].
  struct Sums {
    float* at = nullptr;
    std::int64_t row = kTileOutputs;
    std::int64_t panel = 0;
  };
  // Row r . output o of four panels, which are added to what is there if `adds`. Rows are counted through all blocks;
  // those of one height, more than 16, take turns. Quickest where sums lie at multiples of 64 bytes.
  void multiply(std::span<const TileBlock> blocks, const Panels& panels, bool adds, const Sums& sums);

 private:
  void shape(int rows);

  int shaped_ = 0;  // rows that the tiles have now
};

}  // namespace foretell::kernels
