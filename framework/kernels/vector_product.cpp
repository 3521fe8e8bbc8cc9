#include "framework/kernels/vector_product.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <span>
#include <vector>

#include "framework/core/cpu_clones.h"

namespace foretell::kernels {
namespace {

using at::BFloat16;

constexpr int kMostRows = 12;           // of a block: 24 sums stay in registers
constexpr std::int64_t kInputs = 1024;  // that a panel is cut into where many rows pass over it: 64 KiB of two

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

struct Int8Panel {
  static constexpr int kStep = 4;
  FORETELL_INLINE static void load_step(const std::byte* at, Lanes (&weights)[kStep]) { widen_int8_line(at, weights); }
};

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
void run(PanelType type, const Job& job, std::int64_t panel, float* sums) {
  switch (type) {
    case PanelType::Float32: return run_f32(job, panel, sums);
    case PanelType::BFloat16: return run_bf16(job, panel, sums);
    case PanelType::Int8: return run_int8(job, panel, sums);
  }
}

int rows_with_code(int rows) { return *std::lower_bound(std::begin(kBlockRows), std::end(kBlockRows), rows); }

// Blocks of nearly equal size: a single row that is left over would cost as much as many.
void divide(int rows, std::vector<RowBlock>& blocks) {
  const int count = (rows + kMostRows - 1) / kMostRows;
  blocks.clear();
  for (int first = 0; first < rows;) {
    const int left = count - static_cast<int>(blocks.size());
    const int used = (rows - first + left - 1) / left;
    blocks.push_back({nullptr, first, used, rows_with_code(used)});
    first += used;
  }
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

// A thread's rows.
struct TurnedRows {
  std::vector<float> numbers;
  std::vector<RowBlock> blocks;
  int all_rows = 0;  // with those that are not used

  template <class T>
  void lay_out(const Product& product, const T* x) {
    const std::int64_t padded = steps_of(product.type, product.inputs) * step_of(product.type);
    divide(static_cast<int>(product.rows), blocks);
    all_rows = 0;
    for (const RowBlock& block : blocks) all_rows += block.rows;
    const auto size = static_cast<std::size_t>(all_rows * padded);
    if (numbers.size() < size) numbers.resize(size);
    float* to = numbers.data();
    for (RowBlock& block : blocks) {
      turn(x, product.inputs, padded, block, to);
      block.x = to;
      to += block.rows * padded;
    }
  }
};

TurnedRows& own_turned_rows() {
  static thread_local TurnedRows rows;
  return rows;
}

template <class Y>
void multiply_groups(const Product& product, const TurnedRows& rows, GroupRange groups, Y* y) {
  static thread_local std::vector<float> sums;
  const Job job{product.panels, product.stride(), steps_of(product.type, product.inputs), rows.blocks};
  for (std::int64_t group = groups.begin; group < groups.end; ++group) {
    sums.assign(std::size_t{kGroup} * kPanel * static_cast<std::size_t>(rows.all_rows), 0.0f);
    run(product.type, job, group * kGroup, sums.data());
    float* from = sums.data();
    for (const RowBlock& block : job.blocks) {
      finish(product.output, group, block.used, block.rows, from, y + block.first * product.output.width);
      from += kGroup * block.rows * kPanel;
    }
  }
}

template <class T, class Y>
void multiply_vectors(const Product& product, const T* x, Y* y) {
  TurnedRows& rows = own_turned_rows();
  rows.lay_out(product, x);
  at::parallel_for(0, product.groups, product.grain(), [&](std::int64_t begin, std::int64_t end) {
    multiply_groups(product, rows, {begin, end}, y);
  });
}

}  // namespace

void multiply_by_vectors(const Product& product, const float* x, float* y) { multiply_vectors(product, x, y); }
void multiply_by_vectors(const Product& product, const BFloat16* x, float* y) { multiply_vectors(product, x, y); }
void multiply_by_vectors(const Product& product, const BFloat16* x, BFloat16* y) { multiply_vectors(product, x, y); }

void lay_out_turned(const Product& product, const float* x) { own_turned_rows().lay_out(product, x); }
void lay_out_turned(const Product& product, const BFloat16* x) { own_turned_rows().lay_out(product, x); }
void multiply_turned(const Product& product, GroupRange groups, float* y) {
  multiply_groups(product, own_turned_rows(), groups, y);
}
void multiply_turned(const Product& product, GroupRange groups, BFloat16* y) {
  multiply_groups(product, own_turned_rows(), groups, y);
}

}  // namespace foretell::kernels
