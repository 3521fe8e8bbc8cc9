#include "framework/kernels/packed_matrix.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/ones_like.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "framework/core/cpu_clones.h"
#include "framework/core/error.h"
#include "framework/kernels/fast_exp.h"
#include "framework/kernels/lanes.h"
#include "framework/kernels/tile_product.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace foretell::kernels {
namespace {

using at::BFloat16;
using Type = PackedMatrix::Type;

constexpr int kPanel = kLanes;                 // outputs
constexpr int kMostRows = 12;                  // of a block: 24 sums stay in registers
constexpr int kGroup = 4;                      // panels whose products are finished together
constexpr std::int64_t kLine = 64;             // bytes of a step of a panel, whatever the type
constexpr std::int64_t kInputs = 1024;         // that a panel is cut into where many rows pass over it: 64 KiB of two
constexpr std::int64_t kSerialWork = 1 << 17;  // multiplications below which a second thread is not worth its start

// Two inputs of one output lie in 32 bits, which a shift and a mask widen.
struct Bfloat16Panel {
  static constexpr int kStep = 2;
  FORETELL_INLINE static void load_step(const std::byte* at, Lanes (&weights)[kStep]) {
    using Words = std::uint32_t __attribute__((vector_size(kLanes * sizeof(std::uint32_t))));
    Words words;
    std::memcpy(&words, at, sizeof words);
    const Words low = words << 16, high = words & 0xffff0000u;
    std::memcpy(&weights[0], &low, sizeof low);
    std::memcpy(&weights[1], &high, sizeof high);
  }
};

struct Float32Panel {
  static constexpr int kStep = 1;
  FORETELL_INLINE static void load_step(const std::byte* at, Lanes (&weights)[kStep]) {
    std::memcpy(&weights[0], at, sizeof(Lanes));
  }
};

// Four inputs of one output lie in 32 bits: two shifts take one of them out with its sign.
struct Int8Panel {
  static constexpr int kStep = 4;
  FORETELL_INLINE static void load_step(const std::byte* at, Lanes (&weights)[kStep]) {
    using Integers = std::int32_t __attribute__((vector_size(kLanes * sizeof(std::int32_t))));
    Integers four;
    std::memcpy(&four, at, sizeof four);
    weights[0] = __builtin_convertvector((four << 24) >> 24, Lanes);
    weights[1] = __builtin_convertvector((four << 16) >> 24, Lanes);
    weights[2] = __builtin_convertvector((four << 8) >> 24, Lanes);
    weights[3] = __builtin_convertvector(four >> 24, Lanes);
  }
};

int step_of(Type type) {
  return type == Type::Float32 ? Float32Panel::kStep : type == Type::BFloat16 ? Bfloat16Panel::kStep : Int8Panel::kStep;
}
std::int64_t steps_of(Type type, std::int64_t inputs) { return (inputs + step_of(type) - 1) / step_of(type); }
std::int64_t panel_bytes(Type type, std::int64_t inputs) { return steps_of(type, inputs) * kLine; }

// Rows of x that pass over a panel together, turned: the `rows` numbers that one input needs lie side by side. Unused
// ones are zero.
struct RowBlock {
  const float* x = nullptr;  // [inputs, rows]
  int first = 0;
  int used = 0;
  int rows = 0;  // that there is code for
};

struct Job {
  const std::byte* panels;
  std::int64_t panel_stride, steps;
  std::span<const RowBlock> blocks;
};

// Bytes of a panel that are on their way: the farther, the more panels side by side. Measured with one row.
constexpr std::int64_t ahead(int panels) { return panels > 2 ? 2048 : 512; }

// sums[p][r] += panel p . row r, for the steps [begin, end). Sums: [P][R][16].
template <class Panel, int R, int P>
FORETELL_INLINE void tile(const std::byte* panels, std::int64_t stride, const float* x, std::int64_t begin,
                          std::int64_t end, float* sums) {
  Lanes total[P][R];
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) load(sums + (p * R + r) * kPanel, total[p][r]);
  }
  constexpr std::int64_t kAhead = ahead(P);
  const std::int64_t turn = P * stride - (end - begin) * kLine;  // from where these panels end to where the next begin
  for (std::int64_t step = begin; step < end; ++step) {
    const float* from = x + step * Panel::kStep * R;
    // The processor's own prefetcher stops at the end of each page.
    const std::int64_t fetched = step * kLine + kAhead + (step + kAhead / kLine < end ? 0 : turn);
    // Two panels for each number of x that is loaded: one load a product would be what twelve rows wait for.
#pragma GCC unroll 2
    for (int p = 0; p < P; p += 2) {
      Lanes weights[2][Panel::kStep];
#pragma GCC unroll 2
      for (int both = 0; both < 2; ++both) {
        const std::byte* panel = panels + (p + both) * stride;
        __builtin_prefetch(panel + fetched);
        Panel::load_step(panel + step * kLine, weights[both]);
      }
#pragma GCC unroll 4
      for (int i = 0; i < Panel::kStep; ++i) {
#pragma GCC unroll 12
        for (int r = 0; r < R; ++r) {
          total[p][r] += from[i * R + r] * weights[0][i];
          total[p + 1][r] += from[i * R + r] * weights[1][i];
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) store(sums + (p * R + r) * kPanel, total[p][r]);
  }
}

// As many panels side by side as there are registers for.
constexpr int panels_at_once(int rows) { return rows <= 5 ? 4 : 2; }

template <class Panel, int R>
FORETELL_INLINE void tiles(const Job& job, const RowBlock& block, std::int64_t panel, std::int64_t begin,
                           std::int64_t end, float* sums) {
  constexpr int P = panels_at_once(R);
  const std::byte* at = job.panels + panel * job.panel_stride;
  for (int p = 0; p < kGroup; p += P)
    tile<Panel, R, P>(at + p * job.panel_stride, job.panel_stride, block.x, begin, end, sums + p * R * kPanel);
}

// The numbers of rows that there is code for; a block is filled up to the next one.
constexpr int kBlockRows[] = {1, 2, 4, 5, 8, 12};

template <class Panel>
FORETELL_INLINE void panels_times_block(const Job& job, const RowBlock& block, std::int64_t panel, std::int64_t begin,
                                        std::int64_t end, float* sums) {
  switch (block.rows) {
    case 1: tiles<Panel, 1>(job, block, panel, begin, end, sums); break;
    case 2: tiles<Panel, 2>(job, block, panel, begin, end, sums); break;
    case 4: tiles<Panel, 4>(job, block, panel, begin, end, sums); break;
    case 5: tiles<Panel, 5>(job, block, panel, begin, end, sums); break;
    case 8: tiles<Panel, 8>(job, block, panel, begin, end, sums); break;
    default: tiles<Panel, kMostRows>(job, block, panel, begin, end, sums); break;
  }
}

// All rows over the group of panels from `panel` on. Sums: for each block [panels][rows][16], one after the other.
template <class Panel>
FORETELL_INLINE void panels_times_rows(const Job& job, std::int64_t panel, float* sums) {
  const std::int64_t piece = job.blocks.size() == 1 ? job.steps : kInputs / Panel::kStep;
  for (std::int64_t begin = 0; begin < job.steps; begin += piece) {
    float* to = sums;
    for (const RowBlock& block : job.blocks) {
      panels_times_block<Panel>(job, block, panel, begin, std::min(job.steps, begin + piece), to);
      to += kGroup * block.rows * kPanel;
    }
  }
}

FORETELL_CLONES void run_f32(const Job& job, std::int64_t panel, float* sums) {
  panels_times_rows<Float32Panel>(job, panel, sums);
}
FORETELL_CLONES void run_bf16(const Job& job, std::int64_t panel, float* sums) {
  panels_times_rows<Bfloat16Panel>(job, panel, sums);
}
FORETELL_CLONES void run_int8(const Job& job, std::int64_t panel, float* sums) {
  panels_times_rows<Int8Panel>(job, panel, sums);
}
void run(Type type, const Job& job, std::int64_t panel, float* sums) {
  switch (type) {
    case Type::Float32: return run_f32(job, panel, sums);
    case Type::BFloat16: return run_bf16(job, panel, sums);
    case Type::Int8: return run_int8(job, panel, sums);
  }
}

int rows_with_code(int rows) { return *std::lower_bound(std::begin(kBlockRows), std::end(kBlockRows), rows); }

// Blocks of nearly equal size: a single row that is left over would cost as much as many.
std::vector<RowBlock> blocks_of(int rows) {
  const int count = (rows + kMostRows - 1) / kMostRows;
  std::vector<RowBlock> blocks;
  for (int first = 0; first < rows;) {
    const int left = count - static_cast<int>(blocks.size());
    const int used = (rows - first + left - 1) / left;
    blocks.push_back({nullptr, first, used, rows_with_code(used)});
    first += used;
  }
  return blocks;
}

template <class T>
void turn(const T* x, std::int64_t inputs, std::int64_t padded, const RowBlock& block, float* to) {
  for (int r = 0; r < block.rows; ++r) {
    const T* row = x + (block.first + r) * inputs;
    if (r >= block.used) {
      for (std::int64_t i = 0; i < padded; ++i) to[i * block.rows + r] = 0;
      continue;
    }
    for (std::int64_t i = 0; i < inputs; ++i) to[i * block.rows + r] = load_one(row + i);
    for (std::int64_t i = inputs; i < padded; ++i) to[i * block.rows + r] = 0;
  }
}

FORETELL_INLINE float activated(float x, Activation activation) {
  switch (activation) {
    case Activation::Silu: return x / (1.0f + fast_exp(-x));
    case Activation::Gelu: return 0.5f * x * (1.0f + std::erf(x * 0.70710678f));
    case Activation::GeluTanh: return 0.5f * x * (1.0f + std::tanh(0.79788456f * (x + 0.044715f * x * x * x)));
    case Activation::Relu: return std::max(x, 0.0f);
  }
  return x;
}

FORETELL_INLINE void gate(const float* gates, const float* others, Activation activation, float* out) {
  if (activation == Activation::Silu) {
#pragma omp simd
    for (int i = 0; i < kLanes; ++i) out[i] = activated(gates[i], Activation::Silu) * others[i];
    return;
  }
  for (int i = 0; i < kLanes; ++i) out[i] = activated(gates[i], activation) * others[i];
}

// What becomes of the sums.
struct Output {
  enum class Kind { Store, Add, Gate } kind = Kind::Store;
  Activation activation = Activation::Silu;
  const float* bias = nullptr;
  const float* scales = nullptr;  // one an output
  std::int64_t outputs = 0;       // of the matrix
  std::int64_t width = 0;         // of a row of y
};

// Two panels' sums with a row. In a gated matrix they are sixteen gates and the sixteen that they are multiplied with.
template <class T>
FORETELL_INLINE void finish_pair(const Output& output, std::int64_t pair, float* const (&sums)[2], T* y) {
  const bool gated = output.kind == Output::Kind::Gate, adds = output.kind == Output::Kind::Add;
  const std::int64_t first = pair * (gated ? kPanel : 2 * kPanel);
  const std::int64_t apart = gated ? output.outputs / 2 : kPanel;  // of output numbers, from one panel to the other
  for (int p = 0; p < 2 && (output.scales || output.bias); ++p) {
    const std::int64_t number = first + p * apart;
    const std::int64_t known = std::min<std::int64_t>(kPanel, gated ? output.width - first : output.outputs - number);
    for (std::int64_t i = 0; output.scales && i < known; ++i) sums[p][i] *= output.scales[number + i];
    for (std::int64_t i = 0; output.bias && i < known; ++i) sums[p][i] += output.bias[number + i];
  }
  if (gated) gate(sums[0], sums[1], output.activation, sums[0]);
  for (int p = 0; p < (gated ? 1 : 2); ++p) {
    const std::int64_t count = std::min<std::int64_t>(kPanel, output.width - first - p * kPanel);
    T* to = y + first + p * kPanel;
    if (count == kPanel) {
      Lanes values, before;
      load(sums[p], values);
      if (adds) {
        load(to, before);
        values = before + values;
      }
      store(to, values);
      continue;
    }
    for (std::int64_t i = 0; i < count; ++i) store_one(to + i, adds ? load_one(to + i) + sums[p][i] : sums[p][i]);
  }
}

// Of `used` rows the sums with a group of panels: [panels][rows][16].
template <class T>
FORETELL_INLINE void finish_rows(const Output& output, std::int64_t group, int used, int rows, float* sums, T* y) {
  for (int r = 0; r < used; ++r, y += output.width) {
    for (int p = 0; p < kGroup; p += 2)
      finish_pair(output, (group * kGroup + p) / 2,
                  {sums + (p * rows + r) * kPanel, sums + ((p + 1) * rows + r) * kPanel}, y);
  }
}

FORETELL_CLONES void finish(const Output& output, std::int64_t group, int used, int rows, float* sums, float* y) {
  finish_rows(output, group, used, rows, sums, y);
}
FORETELL_CLONES void finish_bf16(const Output& output, std::int64_t group, int used, int rows, float* sums,
                                 BFloat16* y) {
  finish_rows(output, group, used, rows, sums, y);
}
void finish(const Output& output, std::int64_t group, int used, int rows, float* sums, BFloat16* y) {
  finish_bf16(output, group, used, rows, sums, y);
}

// The processor's tiles. Rows go over a group of panels in blocks; so many rows at a time, over so much of a panel,
// that they stay in the second cache.
static_assert(kGroup == AmxContext::kPanels);
constexpr std::int64_t kChunkRows = 256;
static_assert(2 * kTallRows <= kChunkRows, "more than one chunk is cut where a block of 32 begins");
constexpr std::int64_t kChunkNumbers = 1 << 19;  // of x: 1 MiB
constexpr std::int64_t kPieceInputs = 2048;      // the least of a panel
constexpr std::int64_t kWidenedInputs = 128;     // of an int8 group that are widened at a time: 16 KiB
constexpr std::int64_t kWidenedAhead = 1024;     // bytes of an int8 panel that are on their way

struct alignas(64) SumLine {
  float sums[kLanes];
};
struct alignas(64) WideLine {
  std::uint32_t pairs[kLanes];
};

// Whole numbers are bfloat16 numbers as they are.
FORETELL_CLONES void widen(const std::byte* panel, std::int64_t inputs, WideLine* to) {
  for (std::int64_t step = 0; step < inputs / Int8Panel::kStep; ++step, panel += kLine, to += 2) {
    __builtin_prefetch(panel + kWidenedAhead);
    Lanes weights[Int8Panel::kStep];
    Int8Panel::load_step(panel, weights);
#pragma GCC unroll 2
    for (int line = 0; line < 2; ++line) {
      using Words = std::uint32_t __attribute__((vector_size(kLanes * sizeof(std::uint32_t))));
      Words even, odd;
      std::memcpy(&even, &weights[2 * line], sizeof even);
      std::memcpy(&odd, &weights[2 * line + 1], sizeof odd);
      const Words pairs = (even >> 16) | odd;  // the low halves of integers this small are zero
      std::memcpy(to[line].pairs, &pairs, sizeof pairs);
    }
  }
}

struct TileJob {
  Type type;
  const std::byte* panels;
  std::int64_t stride, inputs;  // of a panel
  std::span<const TileBlock> blocks;
  std::int64_t rows, piece;  // of x in all blocks; inputs that are multiplied before the next group's
};

// The rows' sums with a group of panels over the inputs [begin, end): [panels][rows][16].
void multiply_group(const TileJob& job, std::int64_t group, std::int64_t begin, std::int64_t end, AmxContext& tiles,
                    float* sums) {
  static thread_local std::vector<WideLine> wide;
  static thread_local std::vector<TileBlock> blocks;
  const std::byte* const first = job.panels + group * kGroup * job.stride;
  const std::int64_t part = job.type == Type::Int8 ? kWidenedInputs : end - begin;
  for (std::int64_t i = begin; i < end; i += part) {
    const std::int64_t count = std::min(part, end - i);
    AmxContext::Panels panels{first + i * job.stride / job.inputs, job.stride, count / kTileInputs, true};
    if (job.type == Type::Int8) {
      const std::int64_t lines = count / 2;
      wide.resize(static_cast<std::size_t>(kGroup * lines));
      for (int p = 0; p < kGroup; ++p) widen(panels.first + p * job.stride, count, wide.data() + p * lines);
      panels = {reinterpret_cast<const std::byte*>(wide.data()), lines * static_cast<std::int64_t>(sizeof(WideLine)),
                panels.steps, false};
    }
    blocks.clear();
    for (const TileBlock& block : job.blocks) blocks.push_back(block.from(i / kTileInputs));
    tiles.multiply(blocks, panels, i > 0, {sums, kPanel, job.rows * kPanel});
  }
}

// Groups of panels [begin, end), written to y from the rows' first on.
template <class Y>
void multiply_groups(const TileJob& job, std::int64_t begin, std::int64_t end, const Output& output, Y* y) {
  static thread_local std::vector<SumLine> room;
  const std::int64_t group_sums = kGroup * job.rows * kPanel;
  // Sums wait for the next piece, where there is one.
  const std::int64_t waiting = job.piece < job.inputs ? group_sums : 0;
  room.resize(static_cast<std::size_t>((waiting > 0 ? end - begin : 1) * group_sums / kLanes));
  AmxContext tiles;
  for (std::int64_t first = 0; first < job.inputs; first += job.piece) {
    const std::int64_t last = std::min(job.inputs, first + job.piece);
    for (std::int64_t group = begin; group < end; ++group) {
      float* sums = room.data()->sums + (group - begin) * waiting;
      multiply_group(job, group, first, last, tiles, sums);
      if (last < job.inputs) continue;
      finish(output, group, static_cast<int>(job.rows), static_cast<int>(job.rows), sums, y);
    }
  }
}

template <class Y>
void multiply_by_tiles(Type type, const at::Tensor& storage, std::int64_t inputs, const at::Tensor& x,
                       const Output& output, const at::Tensor& y) {
  static thread_local TileRows laid_out;
  const std::int64_t rows = x.size(0), stride = panel_bytes(type, inputs);
  laid_out.lay_out(x.const_data_ptr<BFloat16>(), rows, inputs);
  const std::span<const TileBlock> blocks = laid_out.blocks();
  const std::int64_t groups = static_cast<std::int64_t>(storage.nbytes()) / std::max<std::int64_t>(stride * kGroup, 1);
  const std::int64_t piece = kChunkNumbers / std::min(kChunkRows, rows) / kPieceInputs * kPieceInputs;
  const std::int64_t grain = std::max<std::int64_t>(1, kSerialWork / (rows * inputs * kPanel * kGroup));
  Y* const out = y.mutable_data_ptr<Y>();
  at::parallel_for(0, groups, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t chunk = 0; chunk < rows; chunk += kChunkRows) {
      const auto first = static_cast<std::size_t>(chunk / kTileBlockRows),
                 count = static_cast<std::size_t>(kChunkRows / kTileBlockRows);
      const TileJob job{.type = type,
                        .panels = static_cast<const std::byte*>(storage.const_data_ptr()),
                        .stride = stride,
                        .inputs = inputs,
                        .blocks = blocks.subspan(first, std::min(count, blocks.size() - first)),
                        .rows = std::min(kChunkRows, rows - chunk),
                        .piece = piece};
      multiply_groups(job, begin, end, output, out + chunk * output.width);
    }
  });
}

template <class T, class Y>
void multiply(Type type, const at::Tensor& storage, std::int64_t inputs, const at::Tensor& x, const Output& output,
              const at::Tensor& y) {
  const int rows = static_cast<int>(x.size(0));
  if (rows == 0) return;
  if constexpr (std::is_same_v<T, BFloat16>) {
    if (type != Type::Float32 && rows > kVectorRows && inputs % kTileInputs == 0 && has_tiles())
      return multiply_by_tiles<Y>(type, storage, inputs, x, output, y);
  }
  static thread_local std::vector<float> turned;
  std::vector<RowBlock> blocks = blocks_of(rows);
  const std::int64_t steps = steps_of(type, inputs), padded = steps * step_of(type);
  int all_rows = 0;
  for (const RowBlock& block : blocks) all_rows += block.rows;
  turned.resize(static_cast<std::size_t>(all_rows * padded));
  float* to = turned.data();
  for (RowBlock& block : blocks) {
    turn(x.const_data_ptr<T>(), inputs, padded, block, to);
    block.x = to;
    to += block.rows * padded;
  }
  const std::int64_t stride = panel_bytes(type, inputs);
  const Job job{static_cast<const std::byte*>(storage.const_data_ptr()), stride, steps, blocks};
  const std::int64_t panels = static_cast<std::int64_t>(storage.nbytes()) / std::max<std::int64_t>(stride, 1);
  const std::int64_t groups = panels / kGroup;
  const std::int64_t group_work = std::int64_t{all_rows} * inputs * kPanel * kGroup;
  Y* const out = y.mutable_data_ptr<Y>();
  at::parallel_for(0, groups, std::max<std::int64_t>(1, kSerialWork / group_work),
                   [&](std::int64_t begin, std::int64_t end) {
                     static thread_local std::vector<float> sums;
                     for (std::int64_t group = begin; group < end; ++group) {
                       sums.assign(std::size_t{kGroup} * kPanel * static_cast<std::size_t>(all_rows), 0.0f);
                       run(type, job, group * kGroup, sums.data());
                       float* from = sums.data();
                       for (const RowBlock& block : job.blocks) {
                         finish(output, group, block.used, block.rows, from, out + block.first * output.width);
                         from += kGroup * block.rows * kPanel;
                       }
                     }
                   });
}

// Copies weight rows [begin, begin + 16) into a panel; rows beyond `end` stay zero.
template <class T, class To>
void fill_panel(const T* weight, std::int64_t inputs, std::int64_t begin, std::int64_t end, int step, To* panel) {
  for (std::int64_t o = begin; o < std::min(begin + kPanel, end); ++o) {
    const T* row = weight + o * inputs;
    To* to = panel + (o - begin) * step;
    for (std::int64_t i = 0; i < inputs; ++i) to[i / step * step * kPanel + i % step] = static_cast<To>(row[i]);
  }
}

// Large matrices lie in large pages where the system has them: 7% less time to read 2.4 GB, because translations of
// addresses are found, and logits of 64 rows have 16 pages to ask for, not 8,000.
at::Tensor room_for(std::int64_t bytes) {
  constexpr std::int64_t kLargePage = 2 << 20;
#ifdef MADV_HUGEPAGE
  if (bytes >= 2 * kLargePage) {
    void* memory =
        std::aligned_alloc(kLargePage, static_cast<std::size_t>((bytes + kLargePage - 1) / kLargePage * kLargePage));
    FORETELL_CHECK(memory, "no memory for {} bytes", bytes);
    madvise(memory, static_cast<std::size_t>(bytes), MADV_HUGEPAGE);  // advice: what comes of it does not matter
    return at::from_blob(
        memory, {bytes}, [](void* held) { std::free(held); }, at::kByte);
  }
#endif
  return at::empty({bytes}, at::kByte);
}

// Each output's weights divided by its scale and rounded.
at::Tensor rounded_to_int8(const at::Tensor& weight, at::Tensor& scales) {
  const at::Tensor wide = weight.to(at::kFloat);
  scales = wide.abs().amax(1).div(127.0);
  scales = scales.where(scales > 0, at::ones_like(scales));
  return wide.div(scales.unsqueeze(1)).round().to(at::kChar);
}

}  // namespace

PackedMatrix::PackedMatrix(const at::Tensor& weight, Type type, bool gated)
    : type_(type), gated_(gated), inputs_(weight.size(1)), outputs_(weight.size(0)) {
  FORETELL_CHECK(weight.device().is_cpu() && weight.is_contiguous(),
                 "a matrix that is not contiguous, or not on the CPU");
  FORETELL_CHECK(!gated || outputs_ % 2 == 0, "a gated matrix of {} outputs", outputs_);
  FORETELL_CHECK(type == Type::Int8 || weight.scalar_type() == (type == Type::Float32 ? at::kFloat : at::kBFloat16),
                 "weights of another type");
  scales_ = at::empty({0}, at::kFloat);
  const at::Tensor source =
      type == Type::Int8 && weight.scalar_type() != at::kChar ? rounded_to_int8(weight, scales_) : weight;
  const std::int64_t width = gated ? outputs_ / 2 : outputs_, panel_outputs = gated ? kPanel / 2 : kPanel;
  // Filled up with zeros, so that no kernel has to ask whether there is a panel beside its own.
  const std::int64_t group_outputs = kGroup * panel_outputs;
  const std::int64_t panels = (width + group_outputs - 1) / group_outputs * kGroup, stride = panel_bytes(type, inputs_);
  storage_ = room_for(panels * stride);
  auto* bytes = static_cast<std::byte*>(storage_.mutable_data_ptr());
  at::parallel_for(0, panels, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t panel = begin; panel < end; ++panel) {
      std::byte* to = bytes + panel * stride;
      std::fill_n(to, stride, std::byte{0});
      const std::int64_t first = gated ? panel % 2 * width + panel / 2 * kPanel : panel * kPanel;
      const std::int64_t last = gated ? (panel % 2 + 1) * width : outputs_;
      switch (type) {
        case Type::Float32:
          fill_panel(source.const_data_ptr<float>(), inputs_, first, last, 1, reinterpret_cast<float*>(to));
          break;
        case Type::BFloat16:
          fill_panel(source.const_data_ptr<BFloat16>(), inputs_, first, last, 2, reinterpret_cast<BFloat16*>(to));
          break;
        case Type::Int8:
          fill_panel(source.const_data_ptr<std::int8_t>(), inputs_, first, last, 4, reinterpret_cast<std::int8_t*>(to));
          break;
      }
    }
  });
}

// A product with the unit matrix is exact: each sum has one term.
at::Tensor PackedMatrix::dequantize() const {
  if (!gated_) return product(at::eye(inputs_), {}).t().contiguous();
  PackedMatrix plain = *this;
  plain.gated_ = false;
  plain.outputs_ = static_cast<std::int64_t>(storage_.nbytes()) / panel_bytes(type_, inputs_) * kPanel;
  plain.scales_ = at::empty({0}, at::kFloat);
  const at::Tensor panels =
      plain.product(at::eye(inputs_), {}).t().unflatten(0, {-1, 2, kLanes});  // [panels, gate or other, lanes, in]
  const std::int64_t half = outputs_ / 2;
  const auto part = [&](std::int64_t which) { return panels.select(1, which).flatten(0, 1).narrow(0, 0, half); };
  const at::Tensor dense = at::cat({part(0), part(1)});
  return scales_.numel() > 0 ? dense.mul(scales_.unsqueeze(1)) : dense;
}

namespace {

void multiply_into(const PackedMatrix& matrix, const at::Tensor& storage, const at::Tensor& x, Output output,
                   const at::Tensor& bias, const at::Tensor& scales, const at::Tensor& y) {
  FORETELL_CHECK(x.dim() == 2 && x.size(1) == matrix.inputs() && x.is_contiguous(), "rows of another width than {}",
                 matrix.inputs());
  output.outputs = matrix.outputs();
  output.width = y.size(1);
  if (bias.defined()) output.bias = bias.const_data_ptr<float>();
  if (scales.numel() > 0) output.scales = scales.const_data_ptr<float>();
  const auto run = [&](auto kernel) { kernel(matrix.type(), storage, matrix.inputs(), x, output, y); };
  if (x.scalar_type() == at::kFloat) return run(multiply<float, float>);
  y.scalar_type() == at::kFloat ? run(multiply<BFloat16, float>) : run(multiply<BFloat16, BFloat16>);
}

}  // namespace

at::Tensor PackedMatrix::product(const at::Tensor& x, const at::Tensor& bias) const {
  FORETELL_CHECK(!gated_, "a gated matrix has no plain product");
  at::Tensor y = at::empty({x.size(0), outputs_}, x.options());
  multiply_into(*this, storage_, x, {.kind = Output::Kind::Store}, bias, scales_, y);
  return y;
}

at::Tensor PackedMatrix::matmul_float(const at::Tensor& x, const at::Tensor& bias) const {
  FORETELL_CHECK(!gated_, "a gated matrix has no plain product");
  at::Tensor y = room_for(x.size(0) * outputs_ * 4).view(at::kFloat).view({x.size(0), outputs_});
  multiply_into(*this, storage_, x, {.kind = Output::Kind::Store}, bias, scales_, y);
  return y;
}

void PackedMatrix::matmul_accumulate(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& y) const {
  FORETELL_CHECK(!gated_ && y.is_contiguous() && y.scalar_type() == x.scalar_type() && y.size(0) == x.size(0) &&
                     y.size(1) == outputs_,
                 "rows that a product of {} outputs cannot be added to", outputs_);
  multiply_into(*this, storage_, x, {.kind = Output::Kind::Add}, bias, scales_, y);
}

at::Tensor PackedMatrix::matmul_glu(const at::Tensor& x, const at::Tensor& bias, Activation activation) const {
  FORETELL_CHECK(gated_, "a matrix without a gate");
  at::Tensor y = at::empty({x.size(0), outputs_ / 2}, x.options());
  multiply_into(*this, storage_, x, {.kind = Output::Kind::Gate, .activation = activation}, bias, scales_, y);
  return y;
}

}  // namespace foretell::kernels
