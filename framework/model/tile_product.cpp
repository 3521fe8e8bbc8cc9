#include "framework/model/tile_product.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define FORETELL_TILES
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace foretell {
namespace {

using at::BFloat16;

constexpr std::int64_t kPanelOutputs = 32;
constexpr std::int64_t kStepBytes = 2048;       // of a panel
constexpr std::int64_t kSerialLines = 1 << 12;  // below, a second thread is not worth its start

std::optional<bool>& assumed() {
  static std::optional<bool> present;
  return present;
}

}  // namespace

void assume_tiles(std::optional<bool> present) { assumed() = present; }

#ifdef FORETELL_TILES
namespace {

constexpr std::int64_t kRowBytes = 128;  // two inputs of a panel: 16 pairs and 16 pairs
constexpr std::int64_t kTileBytes = 1024;
// Bytes of a panel that are on their way. With 4 KiB, even into the second cache only, 32 rows take 15% longer.
constexpr std::int64_t kAhead = kTileBytes;

#define FORETELL_TILE_CODE __attribute__((target("amx-tile,amx-bf16"), noinline))

// Tiles 0 to 3 are sums, 4 and 5 rows of x, 6 and 7 the halves of a panel. More than 16 rows: sums of the upper rows with both halves, then of the
// lower. Up to 16: sums of both halves of one panel, then of the other.
struct alignas(64) TileShapes {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};
static_assert(sizeof(TileShapes) == 64);

FORETELL_TILE_CODE void shape_tiles(int rows) {
  const int upper = std::min(rows, kTileRows), lower = std::max(rows - kTileRows, 0);
  TileShapes shapes;
  const auto set = [&](int tile, int count) {
    shapes.row_bytes[tile] = count > 0 ? 64 : 0;
    shapes.rows[tile] = static_cast<std::uint8_t>(count);
  };
  for (const int tile : {0, 1, 4}) set(tile, upper);
  for (const int tile : {2, 3}) set(tile, lower > 0 ? lower : upper);
  set(5, lower);
  for (const int tile : {6, 7}) set(tile, kTileRows);
  // The intrinsic tells the compiler of eight bytes that are read: without this the others might never be written.
  asm volatile("" : : "r"(&shapes) : "memory");
  _tile_loadconfig(&shapes);
}

FORETELL_TILE_CODE void release_tiles() { _tile_release(); }

// A quarter of a step: what is fetched ahead is spread between products, or they would wait for it.
template <bool kFetch>
__attribute__((always_inline)) inline void fetch_quarter(const std::byte* step, int quarter) {
  if constexpr (kFetch)
#pragma GCC unroll 8
    for (std::int64_t line = 0; line < kStepBytes / 4; line += 64) __builtin_prefetch(step + kAhead + quarter * kStepBytes / 4 + line);
}

// Where the four tiles of sums lie.
struct FourSums {
  float* tile[4];
  std::size_t row_bytes;
};

FORETELL_TILE_CODE void begin_sums(const FourSums& sums, bool adds) {
  if (!adds) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    return;
  }
  _tile_loadd(0, sums.tile[0], sums.row_bytes);
  _tile_loadd(1, sums.tile[1], sums.row_bytes);
  _tile_loadd(2, sums.tile[2], sums.row_bytes);
  _tile_loadd(3, sums.tile[3], sums.row_bytes);
}

FORETELL_TILE_CODE void end_sums(const FourSums& sums) {
  _tile_stored(0, sums.tile[0], sums.row_bytes);
  _tile_stored(1, sums.tile[1], sums.row_bytes);
  _tile_stored(2, sums.tile[2], sums.row_bytes);
  _tile_stored(3, sums.tile[3], sums.row_bytes);
}

// 17 to 32 rows over one panel.
template <bool kFetch>
FORETELL_TILE_CODE void multiply_two_tiles(const BFloat16* x, const std::byte* panel, std::int64_t steps, bool adds, const FourSums& sums) {
  const auto* at = reinterpret_cast<const std::byte*>(x);
  begin_sums(sums, adds);
  for (std::int64_t step = 0; step < steps; ++step, at += 2 * kTileBytes, panel += kStepBytes) {
    _tile_loadd(4, at, 64);
    _tile_loadd(6, panel, kRowBytes);
    fetch_quarter<kFetch>(panel, 0);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, panel + 64, kRowBytes);
    fetch_quarter<kFetch>(panel, 1);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, at + kTileBytes, 64);
    fetch_quarter<kFetch>(panel, 2);
    _tile_dpbf16ps(2, 5, 6);
    fetch_quarter<kFetch>(panel, 3);
    _tile_dpbf16ps(3, 5, 7);
  }
  end_sums(sums);
}

// Up to 16 rows over two panels: over one there would be two sums only, each waiting for its last product.
template <bool kFetch>
FORETELL_TILE_CODE void multiply_one_tile(const BFloat16* x, const std::byte* panel, const std::byte* second, std::int64_t steps, bool adds,
                                          const FourSums& sums) {
  const auto* at = reinterpret_cast<const std::byte*>(x);
  begin_sums(sums, adds);
  for (std::int64_t step = 0; step < steps; ++step, at += kTileBytes, panel += kStepBytes, second += kStepBytes) {
    _tile_loadd(4, at, 64);
    _tile_loadd(6, panel, kRowBytes);
    fetch_quarter<kFetch>(panel, 0);
    fetch_quarter<kFetch>(panel, 1);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, panel + 64, kRowBytes);
    fetch_quarter<kFetch>(panel, 2);
    fetch_quarter<kFetch>(panel, 3);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(6, second, kRowBytes);
    fetch_quarter<kFetch>(second, 0);
    fetch_quarter<kFetch>(second, 1);
    _tile_dpbf16ps(2, 4, 6);
    _tile_loadd(7, second + 64, kRowBytes);
    fetch_quarter<kFetch>(second, 2);
    fetch_quarter<kFetch>(second, 3);
    _tile_dpbf16ps(3, 4, 7);
  }
  end_sums(sums);
}

using Panels = TileSession::Panels;
using Sums = TileSession::Sums;

template <bool kFetch>
void multiply_narrow(const TileBlock& block, const Panels& panels, bool adds, const Sums& sums) {
  float *const first = sums.at, *const second = sums.at + sums.panel;
  multiply_one_tile<kFetch>(block.x, panels.first, panels.first + panels.stride, panels.steps, adds,
                            {{first, first + 16, second, second + 16}, static_cast<std::size_t>(sums.row) * sizeof(float)});
}

template <bool kFetch>
void multiply_wide(const TileBlock& block, int panel, const Panels& panels, bool adds, const Sums& sums) {
  float *const upper = sums.at + panel * sums.panel, *const lower = upper + kTileRows * sums.row;
  multiply_two_tiles<kFetch>(block.x, panels.first + panel * panels.stride, panels.steps, adds,
                             {{upper, upper + 16, lower, lower + 16}, static_cast<std::size_t>(sums.row) * sizeof(float)});
}

// And the system grants them.
bool machine_has_tiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // arch_prctl(2): ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return __builtin_cpu_supports("amx-bf16") != 0 && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

#else
namespace {

bool machine_has_tiles() { return false; }
void shape_tiles(int) {}
void release_tiles() {}
using Panels = TileSession::Panels;
using Sums = TileSession::Sums;
template <bool>
void multiply_narrow(const TileBlock&, const Panels&, bool, const Sums&) {}
template <bool>
void multiply_wide(const TileBlock&, int, const Panels&, bool, const Sums&) {}

}  // namespace
#endif

// A hypervisor that gets tiles wrong shall cost speed, not results.
bool tiles_come_out_right() {
  constexpr std::size_t kRows = kTileBlockRows + 5, kInputs = 2 * kTileInputs, kOutputs = 2 * kPanelOutputs;
  constexpr std::size_t kPanelSize = kInputs * kPanelOutputs;
  std::vector<BFloat16> x(kRows * kInputs), panels(kInputs * kOutputs);
  // Small whole numbers: all sums are exact.
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 7 % 13) - 6;
  for (std::size_t i = 0; i < panels.size(); ++i) panels[i] = static_cast<float>(i * 5 % 11) - 5;
  TileRows rows;
  rows.lay_out(x.data(), kRows, kInputs);
  std::vector<float> sums(kRows * kOutputs);
  TileSession tiles;
  const auto* const at = reinterpret_cast<const std::byte*>(panels.data());
  // In two pieces, so that sums are taken up again.
  for (std::int64_t step = 0; step < 2; ++step) {
    std::vector<TileBlock> blocks;
    for (const TileBlock& block : rows.blocks()) blocks.push_back(block.from(step));
    tiles.multiply(blocks, {at + step * kStepBytes, kPanelSize * sizeof(BFloat16), 1, step == 0}, step > 0,
                   {sums.data(), kPanelOutputs, kRows * kPanelOutputs});
  }
  for (std::size_t p = 0; p < 2; ++p) {
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t o = 0; o < kPanelOutputs; ++o) {
        float expected = 0;
        for (std::size_t i = 0; i < kInputs; ++i)
          expected += static_cast<float>(x[r * kInputs + i]) * static_cast<float>(panels[p * kPanelSize + i / 2 * 64 + o * 2 + i % 2]);
        if (sums[(p * kRows + r) * kPanelOutputs + o] != expected) return false;
      }
    }
  }
  return true;
}

bool has_tiles() {
  static const bool usable = machine_has_tiles() && tiles_come_out_right();
  return assumed().value_or(usable);
}

void TileRows::lay_out(const BFloat16* x, std::int64_t rows, std::int64_t inputs) {
  const std::int64_t steps = inputs / kTileInputs, tiles = (rows + kTileRows - 1) / kTileRows;
  lines_.resize(static_cast<std::size_t>(tiles * steps * kTileRows));
  blocks_.clear();
  for (std::int64_t first = 0; first < rows; first += kTileBlockRows)
    blocks_.push_back(
        {lines_[static_cast<std::size_t>(first * steps)].x, static_cast<int>(std::min<std::int64_t>(kTileBlockRows, rows - first))});
  const std::int64_t grain = std::max<std::int64_t>(1, kSerialLines / (steps * kTileRows));
  at::parallel_for(0, tiles, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin * kTileRows; row < std::min(rows, end * kTileRows); ++row) {
      const std::int64_t block = row / kTileBlockRows, lines = std::int64_t{kTileRows} * blocks_[static_cast<std::size_t>(block)].tiles();
      Line* to = lines_.data() + block * kTileBlockRows * steps + row % kTileBlockRows;
      for (std::int64_t step = 0; step < steps; ++step, to += lines)
        std::memcpy(to->x, x + row * inputs + step * kTileInputs, sizeof(Line));
    }
  });
}

TileSession::~TileSession() {
  if (shaped_ > 0) release_tiles();
}

void TileSession::shape(int rows) {
  if (rows != shaped_) shape_tiles(rows);
  shaped_ = rows;
}

// All blocks of two tiles over one panel before the next: it is in the first two caches then.
void TileSession::multiply(std::span<const TileBlock> blocks, const Panels& panels, bool adds, const Sums& sums) {
  const bool narrow = blocks.back().tiles() == 1;
  const auto wide = blocks.first(blocks.size() - (narrow ? 1 : 0));
  Sums to = sums;
  for (int panel = 0; panel < 2; ++panel) {
    to.at = sums.at;
    for (std::size_t i = 0; i < wide.size(); ++i, to.at += kTileBlockRows * sums.row) {
      shape(wide[i].rows);
      (panels.from_memory && i == 0 ? multiply_wide<true> : multiply_wide<false>)(wide[i], panel, panels, adds, to);
    }
  }
  if (!narrow) return;
  shape(blocks.back().rows);
  (panels.from_memory && wide.empty() ? multiply_narrow<true> : multiply_narrow<false>)(blocks.back(), panels, adds, to);
}

}  // namespace foretell
