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
constexpr std::size_t kTileLine = 64;
// Bytes of a panel that are on their way, by how many rows it is multiplied with; what suits one suits no other.
constexpr std::int64_t kNarrowNear = 768, kNarrowFar = 2048, kWideNear = 1280;
// Where blocks take turns over two panels they do after so many steps: 64 KiB, in L2.
constexpr std::int64_t kTurnSteps = 32;

#define FORETELL_TILE_CODE __attribute__((target("amx-tile,amx-bf16"), noinline))

// Tiles 0 to 3 are sums. Up to 16 rows: those with four panels; 4 is rows of x, 6 and 7 are panels. Up to 32 rows: of
// the upper rows with two panels, then of the lower; 4 and 5 are rows of x.
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
    shapes.row_bytes[tile] = count > 0 ? kTileLine : 0;
    shapes.rows[tile] = static_cast<std::uint8_t>(count);
  };
  const auto part = [&](int tile) { return std::clamp(rows - tile * kTileRows, 0, kTileRows); };
  const bool wide = rows > kTileRows;
  for (int sum = 0; sum < 4; ++sum) set(sum, part(wide ? sum / 2 : 0));
  set(4, part(0));
  set(5, part(1));
  set(6, kTileRows);
  set(7, kTileRows);
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

// Where the rows of a step's tiles lie, and how far it is to the next step's.
struct TileStep {
  const std::byte* first;
  std::int64_t bytes;
};

// Where tiles of sums lie.
struct TileSums {
  float* tile[4];
  std::size_t row_bytes;
};

FORETELL_TILE_CODE void begin_sums(const TileSums& sums, bool adds) {
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

FORETELL_TILE_CODE void end_sums(const TileSums& sums) {
  _tile_stored(0, sums.tile[0], sums.row_bytes);
  _tile_stored(1, sums.tile[1], sums.row_bytes);
  _tile_stored(2, sums.tile[2], sums.row_bytes);
  _tile_stored(3, sums.tile[3], sums.row_bytes);
}

// Up to 16 rows over four panels: over fewer there would be too few sums, each waiting for its last product.
template <bool kFetch>
FORETELL_TILE_CODE void multiply_narrow(const TileStep& x, const std::byte* panel, std::int64_t stride,
                                        std::int64_t steps, bool adds, const TileSums& sums) {
  const std::byte* at = x.first;
  const std::int64_t turn = 4 * stride - steps * kStepBytes;
  begin_sums(sums, adds);
  for (std::int64_t step = 0; step < steps; ++step, at += x.bytes, panel += kStepBytes) {
    const std::int64_t near = ahead(kNarrowNear, step, steps, turn), far = ahead(kNarrowFar, step, steps, turn);
    _tile_loadd(4, at, kTileLine);
    _tile_loadd(6, panel, kTileLine);
    fetch_quarters<kFetch>(panel + near, panel + far, 0, 4);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, panel + stride, kTileLine);
    fetch_quarters<kFetch>(panel + stride + near, panel + stride + far, 0, 4);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(6, panel + 2 * stride, kTileLine);
    fetch_quarters<kFetch>(panel + 2 * stride + near, panel + 2 * stride + far, 0, 4);
    _tile_dpbf16ps(2, 4, 6);
    _tile_loadd(7, panel + 3 * stride, kTileLine);
    fetch_quarters<kFetch>(panel + 3 * stride + near, panel + 3 * stride + far, 0, 4);
    _tile_dpbf16ps(3, 4, 7);
  }
  end_sums(sums);
}

// Lines of what two panels hold next, fetched into L2 while blocks take turns over what they hold now: so many after
// each of a step's four products, of the first panel and then of the second.
struct TurnFetch {
  const std::byte* next = nullptr;
  std::int64_t stride = 0;
};

// 17 to 32 rows over two panels. Where they come from memory for one block (`kFetch`) what this one needs next is
// fetched, where blocks take turns (`kTurnLines`) what all of them do.
template <bool kFetch, int kTurnLines>
FORETELL_TILE_CODE void multiply_wide(const TileStep& x, const std::byte* panel, std::int64_t stride,
                                      std::int64_t steps, bool adds, const TileSums& sums, TurnFetch turn_fetch) {
  const std::byte* at = x.first;
  const std::byte* second = panel + stride;
  const std::int64_t turn = kFetch ? 2 * stride - steps * kStepBytes : 0;
  const auto fetch_turn = [&](const std::byte* next) __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (int line = 0; line < kTurnLines; ++line) __builtin_prefetch(next + line * std::int64_t{64}, 0, 2);
  };
  begin_sums(sums, adds);
  for (std::int64_t step = 0; step < steps; ++step, at += x.bytes, panel += kStepBytes, second += kStepBytes) {
    const std::int64_t near = ahead(kWideNear, step, steps, turn);
    _tile_loadd(4, at, kTileLine);
    _tile_loadd(6, panel, kTileLine);
    fetch_quarters<kFetch>(panel + near, 0, 2);
    fetch_turn(turn_fetch.next);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, second, kTileLine);
    fetch_quarters<kFetch>(panel + near, 2, 2);
    fetch_turn(turn_fetch.next + kTurnLines * std::int64_t{64});
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, at + kTileBytes, kTileLine);
    fetch_quarters<kFetch>(second + near, 0, 2);
    fetch_turn(turn_fetch.next + turn_fetch.stride);
    _tile_dpbf16ps(2, 5, 6);
    fetch_quarters<kFetch>(second + near, 2, 2);
    fetch_turn(turn_fetch.next + turn_fetch.stride + kTurnLines * std::int64_t{64});
    _tile_dpbf16ps(3, 5, 7);
    turn_fetch.next += 2 * kTurnLines * std::int64_t{64};
  }
  end_sums(sums);
}

using Panels = AmxContext::Panels;
using Sums = AmxContext::Sums;

// Up to 32 rows of a block, which are two of its tiles or the last one.
struct BlockPart {
  TileStep x;
  int rows = 0;
  float* sums = nullptr;  // with the first panel

  static BlockPart of(const TileBlock& block, int first, float* sums) {
    const auto* const at = reinterpret_cast<const std::byte*>(block.x);
    return {{at + first / kTileRows * kTileBytes, block.tiles() * kTileBytes},
            std::min(block.rows - first, kTileBlockRows),
            sums};
  }
  BlockPart from(std::int64_t step) const { return {{x.first + step * x.bytes, x.bytes}, rows, sums}; }
  bool is_wide() const { return rows > kTileRows; }
};

TileSums sums_of(const BlockPart& part, int panel, const Sums& sums) {
  TileSums four{{}, static_cast<std::size_t>(sums.row) * sizeof(float)};
  const std::int64_t columns = part.is_wide() ? 2 : 4;
  for (std::int64_t tile = 0; tile < 4; ++tile)
    four.tile[tile] = part.sums + (panel + tile % columns) * sums.panel + tile / columns * kTileRows * sums.row;
  return four;
}

// A part by itself over all four panels.
void multiply_part(const BlockPart& part, const Panels& panels, bool adds, const Sums& sums) {
  const bool fetch = panels.from_memory;
  if (!part.is_wide())
    return (fetch ? multiply_narrow<true> : multiply_narrow<false>)(part.x, panels.first, panels.stride, panels.steps,
                                                                    adds, sums_of(part, 0, sums));
  for (int panel = 0; panel < AmxContext::kPanels; panel += 2)
    (fetch ? multiply_wide<true, 0> : multiply_wide<false, 0>)(part.x, panels.first + panel * panels.stride,
                                                               panels.stride, panels.steps, adds,
                                                               sums_of(part, panel, sums), {});
}

// With as many lines after a product as so many blocks need to fetch all of the next piece between them.
auto turn_code(bool fetch, std::size_t blocks) {
  if (!fetch) return multiply_wide<false, 0>;
  switch ((8 + blocks - 1) / blocks) {  // one block by itself would fetch eight
    case 4: return multiply_wide<false, 4>;
    case 3: return multiply_wide<false, 3>;
    case 2: return multiply_wide<false, 2>;
    default: return multiply_wide<false, 1>;
  }
}

// Several parts of more than 16 rows each: they take turns over pieces of two panels, so that those come from memory
// once, and while they multiply one piece the next is on its way: memory does not wait.
void multiply_in_turns(std::span<const BlockPart> parts, const Panels& panels, bool adds, const Sums& sums) {
  const auto code = turn_code(panels.from_memory, parts.size());
  for (int panel = 0; panel < AmxContext::kPanels; panel += 2) {
    const std::byte* const first = panels.first + panel * panels.stride;
    for (std::int64_t begin = 0; begin < panels.steps; begin += kTurnSteps) {
      const std::int64_t steps = std::min(kTurnSteps, panels.steps - begin);
      const std::byte* const next =
          begin + steps < panels.steps ? first + (begin + steps) * kStepBytes : first + 2 * panels.stride;
      const std::int64_t share = kTurnSteps * kStepBytes / static_cast<std::int64_t>(parts.size());
      for (std::size_t p = 0; p < parts.size(); ++p) {
        const BlockPart part = parts[p].from(begin);
        code(part.x, first + begin * kStepBytes, panels.stride, steps, adds || begin > 0, sums_of(part, panel, sums),
             {next + static_cast<std::int64_t>(p) * share / 64 * 64, panels.stride});
      }
    }
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
struct BlockPart {
  int rows = 0;
  static BlockPart of(const TileBlock&, int, float*) { return {}; }
  bool is_wide() const { return false; }
};
void multiply_part(const BlockPart&, const AmxContext::Panels&, bool, const AmxContext::Sums&) {}
void multiply_in_turns(std::span<const BlockPart>, const AmxContext::Panels&, bool, const AmxContext::Sums&) {}

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
    const std::size_t padded = static_cast<std::size_t>(rows.padded_rows());
    std::vector<float> sums(padded * kOutputs);
    AmxContext tiles;
    // In two pieces, so that sums are taken up again.
    for (const auto& [first, steps] : {std::pair{std::int64_t{0}, kFirstSteps}, {kFirstSteps, 1}}) {
      std::vector<TileBlock> blocks;
      for (const TileBlock& block : rows.blocks()) blocks.push_back(block.from(first));
      tiles.multiply(blocks,
                     {reinterpret_cast<const std::byte*>(panels.data()) + first * kStepBytes,
                      kPanelSize * sizeof(BFloat16), steps, first == 0},
                     first > 0, {sums.data(), kTileOutputs, static_cast<std::int64_t>(padded) * kTileOutputs});
    }
    for (std::size_t p = 0; p < AmxContext::kPanels; ++p) {
      for (std::size_t r = 0; r < count; ++r) {
        for (std::size_t o = 0; o < kTileOutputs; ++o) {
          float expected = 0;
          for (std::size_t i = 0; i < kInputs; ++i)
            expected += static_cast<float>(x[r * kInputs + i]) *
                        static_cast<float>(panels[p * kPanelSize + i / 2 * 2 * kTileOutputs + o * 2 + i % 2]);
          if (sums[(p * padded + r) * kTileOutputs + o] != expected) return false;
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
  const std::int64_t steps = inputs / kTileInputs, count = (rows + kTileBlockRows - 1) / kTileBlockRows;
  height_ = (rows + count - 1) / count;
  const std::int64_t tiles = TileBlock{nullptr, static_cast<int>(height_)}.tiles(),
                     block_lines = tiles * kTileRows * steps;
  const auto lines = static_cast<std::size_t>(count * block_lines);
  if (lines_.size() < lines) lines_.resize(lines);  // never smaller: it would be filled anew
  blocks_.clear();
  for (std::int64_t block = 0; block < count; ++block)
    blocks_.push_back({lines_[static_cast<std::size_t>(block * block_lines)].x, static_cast<int>(height_)});
  at::parallel_for(0, rows, std::max<std::int64_t>(1, kSerialLines / steps), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      Line* to = lines_.data() + row / height_ * block_lines + row % height_;
      for (std::int64_t step = 0; step < steps; ++step, to += tiles * kTileRows)
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

void AmxContext::multiply(std::span<const TileBlock> blocks, const Panels& panels, bool adds, const Sums& sums) {
  static thread_local std::vector<BlockPart> parts;
  parts.clear();
  float* to = sums.at;
  for (const TileBlock& block : blocks) {
    for (int first = 0; first < block.rows; first += kTileBlockRows)
      parts.push_back(BlockPart::of(block, first, to + first * sums.row));
    to += block.rows * sums.row;
  }
  const auto alike = [&](const BlockPart& part) { return part.is_wide() && part.rows == parts.front().rows; };
  if (parts.size() > 1 && std::all_of(parts.begin(), parts.end(), alike)) {
    shape(parts.front().rows);
    return multiply_in_turns(parts, panels, adds, sums);
  }
  for (const BlockPart& part : parts) {
    shape(part.rows);
    multiply_part(part, panels, adds, sums);
  }
}

}  // namespace foretell::kernels
