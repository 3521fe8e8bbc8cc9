#include "framework/kernels/tiled_product.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "framework/core/cpu_clones.h"
#include "framework/kernels/tile_order.h"
#include "framework/kernels/tile_product.h"
#include "framework/kernels/vector_product.h"

namespace foretell::kernels {
namespace {

using at::BFloat16;

// Rows go over a group of panels in blocks; so many at a time, over so much of a panel, that they stay in the second
// cache.
static_assert(kGroup == AmxContext::kPanels && kPanel == kTileOutputs);
constexpr std::int64_t kChunkBlocks = 8;
constexpr std::int64_t kChunkNumbers = 1 << 19;  // of x: 1 MiB
constexpr std::int64_t kPieceInputs = 2048;      // the least of a panel
constexpr std::int64_t kWidenedInputs = 128;     // of an int8 group that are widened at a time: 16 KiB
constexpr std::int64_t kWidenedAhead = 1024;     // bytes of an int8 panel that are on their way
constexpr int kInt8Step = step_of(PanelType::Int8);

struct alignas(64) SumLine {
  float sums[kLanes];
};
struct alignas(64) WideLine {
  std::uint32_t pairs[kLanes];
};

FORETELL_CLONES void widen(const std::byte* panel, std::int64_t inputs, WideLine* to) {
  for (std::int64_t step = 0; step < inputs / kInt8Step; ++step, panel += kLine, to += 2) {
    __builtin_prefetch(panel + kWidenedAhead);
    Lanes weights[kInt8Step];
    widen_int8_line(panel, weights);
#pragma GCC unroll 2
    for (int line = 0; line < 2; ++line) {
      PairWords pairs;
      pair_up(weights[2 * line], weights[2 * line + 1], pairs);
      std::memcpy(to[line].pairs, &pairs, sizeof pairs);
    }
  }
}

struct TileJob {
  const Product& product;
  std::span<const TileBlock> blocks;
  std::int64_t rows, padded;  // of x in all blocks; with those that are not used
  std::int64_t piece;         // inputs that are multiplied before the next group's
};

// The rows' sums with a group of panels over the inputs [begin, end): [panels][rows][16].
void multiply_tiled_group(const TileJob& job, std::int64_t group, std::int64_t begin, std::int64_t end,
                          AmxContext& tiles, float* sums) {
  static thread_local std::vector<WideLine> wide;
  static thread_local std::vector<TileBlock> blocks;
  const bool is_int8 = job.product.type == PanelType::Int8;
  const std::byte* const first = job.product.group(group);
  const std::int64_t part = is_int8 ? kWidenedInputs : end - begin, stride = job.product.stride();
  for (std::int64_t i = begin; i < end; i += part) {
    const std::int64_t count = std::min(part, end - i);
    AmxContext::Panels panels{first + i * stride / job.product.inputs, stride, count / kTileInputs, true};
    if (is_int8) {
      const std::int64_t lines = count / 2;
      wide.resize(static_cast<std::size_t>(kGroup * lines));
      for (int p = 0; p < kGroup; ++p) widen(panels.first + p * stride, count, wide.data() + p * lines);
      panels = {reinterpret_cast<const std::byte*>(wide.data()), lines * static_cast<std::int64_t>(sizeof(WideLine)),
                panels.steps, false};
    }
    blocks.clear();
    for (const TileBlock& block : job.blocks) blocks.push_back(block.from(i / kTileInputs));
    tiles.multiply(blocks, panels, i > 0, {sums, kPanel, job.padded * kPanel});
  }
}

// Groups of panels [begin, end), written to y from the rows' first on.
template <class Y>
void multiply_tiled_groups(const TileJob& job, std::int64_t begin, std::int64_t end, Y* y) {
  static thread_local std::vector<SumLine> room;
  const std::int64_t group_sums = kGroup * job.padded * kPanel, inputs = job.product.inputs;
  // Sums wait for the next piece, where there is one.
  const std::int64_t waiting = job.piece < inputs ? group_sums : 0;
  room.resize(static_cast<std::size_t>((waiting > 0 ? end - begin : 1) * group_sums / kLanes));
  AmxContext tiles;
  for (std::int64_t first = 0; first < inputs; first += job.piece) {
    const std::int64_t last = std::min(inputs, first + job.piece);
    for (std::int64_t group = begin; group < end; ++group) {
      float* sums = room.data()->sums + (group - begin) * waiting;
      multiply_tiled_group(job, group, first, last, tiles, sums);
      if (last < inputs) continue;
      finish(job.product.output, group, static_cast<int>(job.rows), static_cast<int>(job.padded), sums, y);
    }
  }
}

// All rows over some groups.
template <class Y>
void multiply_tiled_rows(const Product& product, const TileRows& rows, GroupRange groups, Y* y) {
  const std::span<const TileBlock> blocks = rows.blocks();
  const std::int64_t height = rows.height(), chunk_rows = std::min(kChunkBlocks * height, product.rows),
                     piece = kChunkNumbers / chunk_rows / kPieceInputs * kPieceInputs;
  for (std::size_t first = 0; first < blocks.size(); first += kChunkBlocks) {
    const auto chunk = blocks.subspan(first, std::min<std::size_t>(kChunkBlocks, blocks.size() - first));
    const std::int64_t row = static_cast<std::int64_t>(first) * height,
                       padded = static_cast<std::int64_t>(chunk.size()) * height;
    multiply_tiled_groups(TileJob{product, chunk, std::min(padded, product.rows - row), padded, piece}, groups.begin,
                          groups.end, y + row * product.output.width);
  }
}

TileRows& own_tile_rows() {
  static thread_local TileRows rows;
  return rows;
}

bool goes_by_vectors(const Product& product) { return product.rows <= kVectorRows && vectors_follow_tiles(); }

template <class Y>
void multiply_tiled(const Product& product, const BFloat16* x, Y* y) {
  if (goes_by_vectors(product)) return multiply_in_tile_order(product, x, y);
  TileRows& rows = own_tile_rows();
  rows.lay_out(x, product.rows, product.inputs);
  at::parallel_for(0, product.groups, product.grain(), [&](std::int64_t begin, std::int64_t end) {
    multiply_tiled_rows(product, rows, {begin, end}, y);
  });
}

template <class Y>
void multiply_laid_out(const Product& product, GroupRange groups, Y* y) {
  if (goes_by_vectors(product)) return multiply_few_groups(product, groups, y);
  multiply_tiled_rows(product, own_tile_rows(), groups, y);
}

}  // namespace

void multiply_by_tiles(const Product& product, const BFloat16* x, float* y) { multiply_tiled(product, x, y); }
void multiply_by_tiles(const Product& product, const BFloat16* x, BFloat16* y) { multiply_tiled(product, x, y); }

void lay_out_tiles(const Product& product, const BFloat16* x) {
  if (goes_by_vectors(product)) return lay_out_few(product, x);
  own_tile_rows().lay_out(x, product.rows, product.inputs);
}
void multiply_laid_out_tiles(const Product& product, GroupRange groups, float* y) {
  multiply_laid_out(product, groups, y);
}
void multiply_laid_out_tiles(const Product& product, GroupRange groups, BFloat16* y) {
  multiply_laid_out(product, groups, y);
}

}  // namespace foretell::kernels
