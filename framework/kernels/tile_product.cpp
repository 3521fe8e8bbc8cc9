#include "framework/kernels/tile_product.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define FORETELL_TILES
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace foretell::kernels {
namespace {

using at::BFloat16;

constexpr std::int64_t kStepBytes = 1024;       // of a panel: a tile
constexpr std::int64_t kSerialLines = 1 << 12;  // below, a second thread is not worth its start

std::optional<bool>& assumed() {
  static std::optional<bool> present;
  return present;
}

}  // namespace

void assume_tiles(std::optional<bool> present) { assumed() = present; }

#ifdef FORETELL_TILES
namespace {

constexpr std::int64_t kTileBytes = 1024;
constexpr std::size_t kLine = 64;
// Bytes of a panel that are on their way, by how many rows it is multiplied with; what suits one suits no other.
constexpr std::int64_t kNarrowNear = 768, kNarrowFar = 2048, kWideNear = 1280;
// A tall block goes over a panel in segments of so many steps, from several places of a segment in turns: the
// processor's own prefetcher, which looks ahead within a page, has time for it then. With 4 x 16 steps 64 rows take 91
// ms over 2.4 GB of panels, from one place to the next 105.
constexpr std::int64_t kSegment = 64, kPlaces = 4;

#define FORETELL_TILE_CODE __attribute__((target("amx-tile,amx-bf16"), noinline))

// Tiles 0 to 3 are sums. Up to 16 rows: those with four panels; 4 is rows of x, 6 and 7 are panels. Up to 32 rows: of
// the upper rows with two panels, then of the lower; 4 and 5 are rows of x. More: of four times 16 rows with one panel;
// 4, 5 and, with the last rows, 7 are rows of x.
struct alignas(64) TileShapes {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};
static_assert(sizeof(TileShapes) == 64);

FORETELL_TILE_CODE void shape_tiles(int rows) {
  TileShapes shapes;
  const auto set = [&](int tile, int count) {
    shapes.row_bytes[tile] = count > 0 ? kLine : 0;
    shapes.rows[tile] = static_cast<std::uint8_t>(count);
  };
  const auto part = [&](int tile) { return std::clamp(rows - tile * kTileRows, 0, kTileRows); };
  const int kind = TileBlock{nullptr, rows}.tiles();
  for (int sum = 0; sum < 4; ++sum) set(sum, part(kind == 1 ? 0 : kind == 2 ? sum / 2 : sum));
  set(4, part(0));
  set(5, part(1));
  set(6, kTileRows);
  set(7, kind > 2 ? part(kind - 1) : kTileRows);
  // The intrinsic tells the compiler of eight bytes that are read: without this the others might never be written.
  asm volatile("" : : "r"(&shapes) : "memory");
  _tile_loadconfig(&shapes);
}

FORETELL_TILE_CODE void release_tiles() { _tile_release(); }

// Quarters of a panel's step into the first cache (3) or the second (2): what is fetched is spread between products, or
// they would wait for it.
template <bool kFetch, int kCache = 3>
__attribute__((always_inline)) inline void fetch_quarters(const std::byte* step, int first, int count) {
  if constexpr (kFetch) {
#pragma GCC unroll 16
    for (std::int64_t line = first * kStepBytes / 4; line < (first + count) * kStepBytes / 4; line += 64)
      __builtin_prefetch(step + line, 0, kCache);
  }
}
template <bool kFetch>
__attribute__((always_inline)) inline void fetch_quarters(const std::byte* near, const std::byte* far, int first,
                                                          int count) {
  fetch_quarters<kFetch, 3>(near, first, count);
  fetch_quarters<kFetch, 2>(far, first, count);
}
// So many bytes further in a panel; from near its end, in the panel that is multiplied after it, `turn` bytes behind
// the end.
__attribute__((always_inline)) inline std::int64_t ahead(std::int64_t bytes, std::int64_t step, std::int64_t steps,
                                                         std::int64_t turn) {
  return bytes + ((steps - step) * kStepBytes > bytes ? 0 : turn);
}

// Where tiles of sums lie.
struct TileSums {
  float* tile[4];
  std::size_t row_bytes;
};

template <int kCount = 4>
FORETELL_TILE_CODE void begin_sums(const TileSums& sums, bool adds) {
  if (!adds) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    if constexpr (kCount == 4) _tile_zero(3);
    return;
  }
  _tile_loadd(0, sums.tile[0], sums.row_bytes);
  _tile_loadd(1, sums.tile[1], sums.row_bytes);
  _tile_loadd(2, sums.tile[2], sums.row_bytes);
  if constexpr (kCount == 4) _tile_loadd(3, sums.tile[3], sums.row_bytes);
}

template <int kCount = 4>
FORETELL_TILE_CODE void end_sums(const TileSums& sums) {
  _tile_stored(0, sums.tile[0], sums.row_bytes);
  _tile_stored(1, sums.tile[1], sums.row_bytes);
  _tile_stored(2, sums.tile[2], sums.row_bytes);
  if constexpr (kCount == 4) _tile_stored(3, sums.tile[3], sums.row_bytes);
}

// Up to 16 rows over four panels: over fewer there would be too few sums, each waiting for its last product.
template <bool kFetch>
FORETELL_TILE_CODE void multiply_narrow(const BFloat16* x, const std::byte* panel, std::int64_t stride,
                                        std::int64_t steps, bool adds, const TileSums& sums) {
  const auto* at = reinterpret_cast<const std::byte*>(x);
  const std::int64_t turn = 4 * stride - steps * kStepBytes;
  begin_sums(sums, adds);
  for (std::int64_t step = 0; step < steps; ++step, at += kTileBytes, panel += kStepBytes) {
    const std::int64_t near = ahead(kNarrowNear, step, steps, turn), far = ahead(kNarrowFar, step, steps, turn);
    _tile_loadd(4, at, kLine);
    _tile_loadd(6, panel, kLine);
    fetch_quarters<kFetch>(panel + near, panel + far, 0, 4);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, panel + stride, kLine);
    fetch_quarters<kFetch>(panel + stride + near, panel + stride + far, 0, 4);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(6, panel + 2 * stride, kLine);
    fetch_quarters<kFetch>(panel + 2 * stride + near, panel + 2 * stride + far, 0, 4);
    _tile_dpbf16ps(2, 4, 6);
    _tile_loadd(7, panel + 3 * stride, kLine);
    fetch_quarters<kFetch>(panel + 3 * stride + near, panel + 3 * stride + far, 0, 4);
    _tile_dpbf16ps(3, 4, 7);
  }
  end_sums(sums);
}

// 17 to 32 rows over two panels.
template <bool kFetch>
FORETELL_TILE_CODE void multiply_wide(const BFloat16* x, const std::byte* panel, std::int64_t stride,
                                      std::int64_t steps, bool adds, const TileSums& sums) {
  const auto* at = reinterpret_cast<const std::byte*>(x);
  const std::byte* second = panel + stride;
  const std::int64_t turn = 2 * stride - steps * kStepBytes;
  begin_sums(sums, adds);
  for (std::int64_t step = 0; step < steps; ++step, at += 2 * kTileBytes, panel += kStepBytes, second += kStepBytes) {
    const std::int64_t near = ahead(kWideNear, step, steps, turn);
    _tile_loadd(4, at, kLine);
    _tile_loadd(6, panel, kLine);
    fetch_quarters<kFetch>(panel + near, 0, 2);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, second, kLine);
    fetch_quarters<kFetch>(panel + near, 2, 2);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, at + kTileBytes, kLine);
    fetch_quarters<kFetch>(second + near, 0, 2);
    _tile_dpbf16ps(2, 5, 6);
    fetch_quarters<kFetch>(second + near, 2, 2);
    _tile_dpbf16ps(3, 5, 7);
  }
  end_sums(sums);
}

// A step of 33 to 64 rows; `near` and `far` are the steps to fetch.
template <int kTiles, bool kFetch>
__attribute__((always_inline, target("amx-tile,amx-bf16"))) inline void multiply_tall_step(
    const std::byte* x, const std::byte* panel, std::int64_t step, std::int64_t near, std::int64_t far) {
  x += step * kTiles * kTileBytes;
  const std::byte *const soon = panel + near * kStepBytes, *const later = panel + far * kStepBytes;
  _tile_loadd(6, panel + step * kStepBytes, kLine);
  _tile_loadd(4, x, kLine);
  fetch_quarters<kFetch>(soon, later, 0, 1);
  _tile_dpbf16ps(0, 4, 6);
  _tile_loadd(5, x + kTileBytes, kLine);
  fetch_quarters<kFetch>(soon, later, 1, 1);
  _tile_dpbf16ps(1, 5, 6);
  if constexpr (kTiles == 4) {
    _tile_loadd(4, x + 2 * kTileBytes, kLine);
    fetch_quarters<kFetch>(soon, later, 2, 1);
    _tile_dpbf16ps(2, 4, 6);
    _tile_loadd(7, x + 3 * kTileBytes, kLine);
    fetch_quarters<kFetch>(soon, later, 3, 1);
    _tile_dpbf16ps(3, 7, 6);
  } else {
    _tile_loadd(7, x + 2 * kTileBytes, kLine);
    fetch_quarters<kFetch>(soon, later, 2, 2);
    _tile_dpbf16ps(2, 7, 6);
  }
}

// 33 to 64 rows over one panel, so that it comes from memory without a pause: with two passes of 32 rows memory would
// rest during the second.
template <int kTiles, bool kFetch>
FORETELL_TILE_CODE void multiply_tall(const BFloat16* x, const std::byte* panel, std::int64_t steps, bool adds,
                                      const TileSums& sums) {
  const auto* at = reinterpret_cast<const std::byte*>(x);
  begin_sums<kTiles>(sums, adds);
  for (std::int64_t first = 0; first < steps; first += kSegment) {
    const std::int64_t count = std::min(kSegment, steps - first), apart = count / kPlaces;
    for (std::int64_t step = 0; step < apart; ++step) {
      // Of the first place; after the last step, where the next segment begins.
      const bool last = step + 1 == apart;
      const std::int64_t next = last ? count : step + 1, next_apart = last ? kSegment / kPlaces : apart;
      multiply_tall_step<kTiles, kFetch>(at, panel, step, step + apart, step + 3 * apart);
      multiply_tall_step<kTiles, kFetch>(at, panel, step + apart, step + 2 * apart, next);
      multiply_tall_step<kTiles, kFetch>(at, panel, step + 2 * apart, step + 3 * apart, next + next_apart);
      multiply_tall_step<kTiles, kFetch>(at, panel, step + 3 * apart, next, next + 2 * next_apart);
    }
    for (std::int64_t step = kPlaces * apart; step < count; ++step)
      multiply_tall_step<kTiles, kFetch>(at, panel, step, step + 1, step + 2);
    at += count * kTiles * kTileBytes;
    panel += count * kStepBytes;
  }
  end_sums<kTiles>(sums);
}

using Panels = AmxContext::Panels;
using Sums = AmxContext::Sums;

// The panels from the numbered one on that a block of this height goes over at once.
void multiply_block(const TileBlock& block, int panel, const Panels& panels, bool fetch, bool adds, const Sums& sums) {
  const std::byte* const at = panels.first + panel * panels.stride;
  float* const to = sums.at + panel * sums.panel;
  TileSums four{{}, static_cast<std::size_t>(sums.row) * sizeof(float)};
  const auto place = [&](std::int64_t columns) {
    for (std::int64_t tile = 0; tile < 4; ++tile)
      four.tile[tile] = to + tile % columns * sums.panel + tile / columns * kTileRows * sums.row;
  };
  switch (block.tiles()) {
    case 1:
      place(4);
      return (fetch ? multiply_narrow<true> : multiply_narrow<false>)(block.x, at, panels.stride, panels.steps, adds,
                                                                      four);
    case 2:
      place(2);
      return (fetch ? multiply_wide<true> : multiply_wide<false>)(block.x, at, panels.stride, panels.steps, adds, four);
    case 3:
      place(1);
      four.tile[3] = nullptr;
      return (fetch ? multiply_tall<3, true> : multiply_tall<3, false>)(block.x, at, panels.steps, adds, four);
    default:
      place(1);
      return (fetch ? multiply_tall<4, true> : multiply_tall<4, false>)(block.x, at, panels.steps, adds, four);
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
void multiply_block(const TileBlock&, int, const AmxContext::Panels&, bool, bool, const AmxContext::Sums&) {}

}  // namespace
#endif

// A hypervisor that gets tiles wrong shall cost speed, not results.
bool tiles_come_out_right() {
  constexpr std::size_t kInputs = 6 * kTileInputs, kOutputs = AmxContext::kPanels * kTileOutputs,
                        kPanelSize = kInputs * kTileOutputs;
  constexpr std::int64_t kFirstSteps = 5;
  for (const std::size_t count : {7, 21, 37, 53}) {
    std::vector<BFloat16> x(count * kInputs), panels(kInputs * kOutputs);
    // Small integers: all sums are exact.
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 7 % 13) - 6;
    for (std::size_t i = 0; i < panels.size(); ++i) panels[i] = static_cast<float>(i * 5 % 11) - 5;
    TileRows rows;
    rows.lay_out(x.data(), static_cast<std::int64_t>(count), kInputs);
    std::vector<float> sums(count * kOutputs);
    AmxContext tiles;
    // In two pieces, so that sums are taken up again.
    for (const auto& [first, steps] : {std::pair{std::int64_t{0}, kFirstSteps}, {kFirstSteps, 1}}) {
      const TileBlock block = rows.blocks().front().from(first);
      tiles.multiply({&block, 1},
                     {reinterpret_cast<const std::byte*>(panels.data()) + first * kStepBytes,
                      kPanelSize * sizeof(BFloat16), steps, first == 0},
                     first > 0, {sums.data(), kTileOutputs, static_cast<std::int64_t>(count) * kTileOutputs});
    }
    for (std::size_t p = 0; p < AmxContext::kPanels; ++p) {
      for (std::size_t r = 0; r < count; ++r) {
        for (std::size_t o = 0; o < kTileOutputs; ++o) {
          float expected = 0;
          for (std::size_t i = 0; i < kInputs; ++i)
            expected += static_cast<float>(x[r * kInputs + i]) *
                        static_cast<float>(panels[p * kPanelSize + i / 2 * 2 * kTileOutputs + o * 2 + i % 2]);
          if (sums[(p * count + r) * kTileOutputs + o] != expected) return false;
        }
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
  const std::int64_t most = rows <= 2 * kTallRows ? kTallRows : kTileBlockRows;
  const auto lines = static_cast<std::size_t>(tiles * steps * kTileRows);
  if (lines_.size() < lines) lines_.resize(lines);  // never smaller: it would be filled anew
  blocks_.clear();
  for (std::int64_t first = 0; first < rows; first += most)
    blocks_.push_back(
        {lines_[static_cast<std::size_t>(first * steps)].x, static_cast<int>(std::min(most, rows - first))});
  const std::int64_t grain = std::max<std::int64_t>(1, kSerialLines / (steps * kTileRows));
  at::parallel_for(0, tiles, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin * kTileRows; row < std::min(rows, end * kTileRows); ++row) {
      const std::int64_t block = row / most,
                         step_lines = std::int64_t{kTileRows} * blocks_[static_cast<std::size_t>(block)].tiles();
      Line* to = lines_.data() + block * most * steps + row % most;
      for (std::int64_t step = 0; step < steps; ++step, to += step_lines)
        std::memcpy(to->x, x + row * inputs + step * kTileInputs, sizeof(Line));
    }
  });
}

AmxContext::~AmxContext() {
  if (shaped_ > 0) release_tiles();
}

void AmxContext::shape(int rows) {
  if (rows != shaped_) shape_tiles(rows);
  shaped_ = rows;
}

// All blocks over some panels before the next: those are in the first two caches then.
void AmxContext::multiply(std::span<const TileBlock> blocks, const Panels& panels, bool adds, const Sums& sums) {
  for (auto rest = blocks; !rest.empty();) {
    // Only the last block may be of another height.
    const auto alike =
        rest.first(rest.size() > 1 && rest.back().tiles() != rest.front().tiles() ? rest.size() - 1 : rest.size());
    for (int panel = 0; panel < kPanels; panel += kPanels / alike.front().tiles()) {
      Sums to = sums;
      to.at += (rest.data() - blocks.data()) * blocks.front().rows * sums.row;
      for (std::size_t i = 0; i < alike.size(); ++i, to.at += blocks.front().rows * sums.row) {
        shape(alike[i].rows);
        multiply_block(alike[i], panel, panels, panels.from_memory && rest.size() == blocks.size() && i == 0, adds, to);
      }
    }
    rest = rest.subspan(alike.size());
  }
}

}  // namespace foretell::kernels
