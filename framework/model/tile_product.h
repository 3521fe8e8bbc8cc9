// Products of bfloat16 rows with a panel of a PackedMatrix by the processor's matrix tiles (AMX).
//
// Contract: a panel is 32 outputs: for every two inputs 32 pairs, one an output (packed_matrix.h). The number of inputs is a multiple of 32. Products
// of bfloat16 numbers are exact in float32; they are added in float32 in an order that the inputs alone decide, not the rows beside a row.
//
// Reference: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, TDPBF16PS.
#pragma once

#include <c10/util/BFloat16.h>

#include <cstddef>
#include <cstdint>
#include <optional>

namespace foretell {

constexpr std::int64_t kTileInputs = 32;

// Whether this process may use tiles: the processor has them, the system grants them, and a small product came out right. Asked once.
bool has_tiles();
// Whether a small product by tiles comes out right. Only where there are some.
bool tiles_come_out_right();
// What has_tiles() answers from now on, without an argument the truth again: for tests, which emulate tiles.
void assume_tiles(std::optional<bool> present);

// A thread's tiles, shaped for products of so many rows; given back at the end.
class TileSession {
 public:
  explicit TileSession(int rows);
  ~TileSession();
  TileSession(const TileSession&) = delete;
  TileSession& operator=(const TileSession&) = delete;

  // sums[r][o] = row r . output o of the panel. x [rows, inputs], sums [rows, 32].
  void multiply(const at::BFloat16* x, const std::byte* panel, std::int64_t inputs, float* sums);

 private:
  int rows_;
  int shaped_ = 0;  // rows that the tiles have now
};

}  // namespace foretell
