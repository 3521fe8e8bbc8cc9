#include "framework/model/tile_product.h"

#include <algorithm>
#include <cmath>
#include <vector>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define FORETELL_TILES
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace foretell {
namespace {

constexpr int kTileRows = 16;             // of x, in one tile
constexpr int kMostRows = 2 * kTileRows;  // that a panel is multiplied with at a time

std::optional<bool>& assumed() {
  static std::optional<bool> present;
  return present;
}

}  // namespace

void assume_tiles(std::optional<bool> present) { assumed() = present; }

#ifdef FORETELL_TILES
namespace {

constexpr std::int64_t kBlockBytes = 2048;  // 32 inputs of a panel
constexpr std::int64_t kRowBytes = 128;     // two inputs of a panel: 16 pairs and 16 pairs
constexpr std::int64_t kAhead = 2 * kBlockBytes;

#define FORETELL_TILE_CODE __attribute__((target("amx-tile,amx-bf16"), noinline))

// Tiles 0 to 3 are sums: rows 0 to 15 and 16 to 31 times the two halves of a panel. 4 and 5 are the rows, 6 and 7 the halves.
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
  for (const int tile : {2, 3, 5}) set(tile, lower);
  for (const int tile : {6, 7}) set(tile, kTileRows);
  // The intrinsic tells the compiler of eight bytes that are read: without this the others might never be written.
  asm volatile("" : : "r"(&shapes) : "memory");
  _tile_loadconfig(&shapes);
}

FORETELL_TILE_CODE void release_tiles() { _tile_release(); }

// Up to 16 rows, or 17 to 32.
template <bool kBoth>
FORETELL_TILE_CODE void multiply_rows(const at::BFloat16* x, const std::byte* panel, std::int64_t inputs, float* sums) {
  const auto row_stride = static_cast<std::size_t>(inputs) * sizeof(at::BFloat16);
  const at::BFloat16* lower = x + kTileRows * inputs;
  _tile_zero(0);
  _tile_zero(1);
  if constexpr (kBoth) {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (std::int64_t i = 0; i < inputs; i += kTileInputs, panel += kBlockBytes) {
    for (std::int64_t line = 0; line < kBlockBytes; line += 64) __builtin_prefetch(panel + kAhead + line);
    _tile_loadd(4, x + i, row_stride);
    _tile_loadd(6, panel, kRowBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, panel + 64, kRowBytes);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (kBoth) {
      _tile_loadd(5, lower + i, row_stride);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, sums, kRowBytes);
  _tile_stored(1, sums + 16, kRowBytes);
  if constexpr (kBoth) {
    _tile_stored(2, sums + kTileRows * 32, kRowBytes);
    _tile_stored(3, sums + kTileRows * 32 + 16, kRowBytes);
  }
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
template <bool>
void multiply_rows(const at::BFloat16*, const std::byte*, std::int64_t, float*) {}

}  // namespace
#endif

// A hypervisor that gets tiles wrong shall cost speed, not results.
bool tiles_come_out_right() {
  constexpr std::size_t kRows = 21, kInputs = 64, kOutputs = 32;
  std::vector<at::BFloat16> x(kRows * kInputs), panel(kInputs * kOutputs);
  // Small whole numbers: all sums are exact.
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 7 % 13) - 6;
  for (std::size_t i = 0; i < panel.size(); ++i) panel[i] = static_cast<float>(i * 5 % 11) - 5;
  std::vector<float> sums(kRows * kOutputs);
  TileSession(kRows).multiply(x.data(), reinterpret_cast<const std::byte*>(panel.data()), kInputs, sums.data());
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t o = 0; o < kOutputs; ++o) {
      float expected = 0;
      for (std::size_t i = 0; i < kInputs; ++i)
        expected += static_cast<float>(x[r * kInputs + i]) * static_cast<float>(panel[i / 2 * 64 + o * 2 + i % 2]);
      if (sums[r * kOutputs + o] != expected) return false;
    }
  }
  return true;
}

bool has_tiles() {
  static const bool usable = machine_has_tiles() && tiles_come_out_right();
  return assumed().value_or(usable);
}

TileSession::TileSession(int rows) : rows_(rows) {}
TileSession::~TileSession() {
  if (shaped_ > 0) release_tiles();
}

void TileSession::multiply(const at::BFloat16* x, const std::byte* panel, std::int64_t inputs, float* sums) {
  for (int first = 0; first < rows_; first += kMostRows) {
    const int rows = std::min(kMostRows, rows_ - first);
    if (rows != shaped_) shape_tiles(rows);
    shaped_ = rows;
    (rows <= kTileRows ? multiply_rows<false> : multiply_rows<true>)(x + first * inputs, panel, inputs, sums + first * 32);
  }
}

}  // namespace foretell
