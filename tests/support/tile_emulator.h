// The processor's matrix tiles (AMX), emulated: instructions that it does not have arrive as SIGILL and are carried out
// here.
//
// Contract: while one of these lives, the tile instructions that framework/kernels/tile_product.cpp uses work in this
// thread, slowly, on any x86-64 Linux. Everything else that is illegal stays so. Sums follow the manual: even and odd
// inputs of a tile apart, then both onto the sum.
//
// Reference: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2 (LDTILECFG, TILELOADD, TILESTORED,
// TILEZERO, TDPBF16PS).
#pragma once

#include <cstdint>

namespace foretell {

class TileEmulator {
 public:
  TileEmulator();
  ~TileEmulator();
  TileEmulator(const TileEmulator&) = delete;
  TileEmulator& operator=(const TileEmulator&) = delete;

  static bool possible();  // on this system
  std::int64_t instructions() const;
};

}  // namespace foretell
