// One order of sums: a row's attention is the same to the bit whatever is computed with it.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>
#include <random>
#include <vector>

#include "framework/kernels/attention/attention_path.h"
#include "framework/kernels/attention/cached_attention.h"
#include "framework/kernels/tile_product.h"
#include "tests/support/catch.h"
#include "tests/support/tile_emulator.h"

namespace foretell {
namespace {

using kernels::HeadLayout;
using kernels::attention::AttendingRows;
using kernels::attention::AttentionMask;
using kernels::attention::AttentionPath;
using kernels::attention::CachedRows;

struct Kind {
  const char* name;
  at::ScalarType type;
  std::optional<AttentionPath> path = {};  // of bfloat16
  bool int8 = false;
};

constexpr Kind kKinds[] = {{"f32", at::kFloat},
                           {"bf16, fma", at::kBFloat16, AttentionPath::Fma},
                           {"bf16, vectors", at::kBFloat16, AttentionPath::Bf16},
                           {"bf16, tiles", at::kBFloat16, AttentionPath::Tiles},
                           {"f32 on int8", at::kFloat, {}, true},
                           {"bf16 on int8", at::kBFloat16, AttentionPath::Fma, true},
                           {"bf16 on int8, tiles", at::kBFloat16, AttentionPath::Tiles, true}};

// Attention goes through one path while this lives; usable() is false where this processor cannot.
class OnPath {
 public:
  explicit OnPath(const Kind& kind) {
    if (!kind.path) return;
    const bool had =
        (kernels::assume_tiles(false), kernels::attention::attention_path(at::kBFloat16) == AttentionPath::Bf16);
    usable_ = *kind.path == AttentionPath::Tiles ? TileEmulator::possible() : *kind.path == AttentionPath::Fma || had;
    if (!usable_) return;
    kernels::attention::assume_bf16_vectors(*kind.path == AttentionPath::Bf16);
    if (*kind.path != AttentionPath::Tiles) return;
    emulator_.emplace();
    kernels::assume_tiles(true);
  }
  ~OnPath() {
    kernels::attention::assume_bf16_vectors(std::nullopt);
    kernels::assume_tiles(std::nullopt);
  }
  OnPath(const OnPath&) = delete;
  OnPath& operator=(const OnPath&) = delete;
  bool usable() const { return usable_; }
  bool emulated() const { return emulator_.has_value(); }

 private:
  bool usable_ = true;
  std::optional<TileEmulator> emulator_;
};

struct Threads {
  explicit Threads(int count) : before(at::get_num_threads()) { at::set_num_threads(count); }
  ~Threads() { at::set_num_threads(before); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
  int before;
};

// A text whose queries, keys and values are known: whatever order they are computed in, the cache is the same.
struct KnownText {
  HeadLayout layout;
  at::Tensor qkv;  // [rows, width]
  CachedRows cache;
  double scale = 0.3;

  KnownText(const HeadLayout& heads, const Kind& kind, int rows) : layout(heads) {
    at::manual_seed(5);
    qkv = at::randn({rows, layout.width()}).to(kind.type);
    const auto make = [&](std::int64_t width) {
      return kind.int8 ? at::randint(-127, 128, {layout.kv_heads, rows + 9, width}, at::kInt).to(at::kChar)
                       : at::randn({layout.kv_heads, rows + 9, width}).to(kind.type);
    };
    cache = {make(layout.head_dim), make(layout.value_dim())};
    if (kind.int8) {
      cache.key_scales = at::rand({layout.kv_heads, rows + 9}) * 0.02;
      cache.value_scales = at::rand({layout.kv_heads, rows + 9}) * 0.02;
    }
  }
  at::Tensor queries(std::int64_t first, std::int64_t count) const {
    return qkv.narrow(0, first, count).narrow(1, 0, std::int64_t{layout.heads} * layout.head_dim);
  }
  at::Tensor attend(const at::Tensor& rows, const CachedRows& over, const AttentionMask& seen) const {
    at::Tensor out = at::empty({rows.size(0), std::int64_t{layout.heads} * layout.value_dim()}, rows.options());
    const AttendingRows item{rows, over, &seen, out};
    kernels::attention::attend_rows({&item, 1}, layout, scale);
    return out;
  }
  // Rows [first, first + count) as one chain, seeing `window` positions or all.
  AttentionMask chain(int first, int count, int window) const {
    AttentionMask seen;
    seen.rows = count;
    seen.base = first;
    seen.end = first + count;
    seen.all = count == 1 && window == 0;
    if (window == 0) return seen;
    seen.first = std::clamp(first - window + 1, 0, first);
    for (int row = 0; row < count; ++row) seen.lowest.push_back(std::max(first + row - window + 1, seen.first));
    return seen;
  }
  at::Tensor piece(int first, int count, int window = 0) const {
    return attend(queries(first, count), cache, chain(first, count, window));
  }
};

at::Tensor in_pieces(const KnownText& text, std::span<const int> sizes, int window = 0) {
  std::vector<at::Tensor> parts;
  int first = 0;
  for (const int size : sizes) {
    parts.push_back(text.piece(first, size, window));
    first += size;
  }
  return at::cat(parts);
}

// What the kernel is to compute, in float64.
at::Tensor exact(const KnownText& text, int rows, int window) {
  const auto plain = [](const at::Tensor& of, const at::Tensor& scales) {
    return scales.defined() ? of.to(at::kDouble) * scales.to(at::kDouble).unsqueeze(-1) : of.to(at::kDouble);
  };
  const std::int64_t group = text.layout.heads / text.layout.kv_heads;
  const at::Tensor keys = plain(text.cache.keys, text.cache.key_scales).narrow(1, 0, rows).repeat_interleave(group, 0),
                   values =
                       plain(text.cache.values, text.cache.value_scales).narrow(1, 0, rows).repeat_interleave(group, 0);
  const at::Tensor queries = text.queries(0, rows).to(at::kDouble).view({rows, text.layout.heads, -1}).transpose(0, 1);
  at::Tensor scores = queries.matmul(keys.transpose(1, 2)) * text.scale;
  at::Tensor hidden = at::empty({rows, rows}, at::kBool);
  for (int row = 0; row < rows; ++row)
    for (int column = 0; column < rows; ++column)
      hidden.mutable_data_ptr<bool>()[row * rows + column] = column > row || (window > 0 && column <= row - window);
  scores.masked_fill_(hidden, -std::numeric_limits<double>::infinity());
  return scores.softmax(-1).matmul(values).transpose(0, 1).reshape({rows, -1});
}

const HeadLayout kGrouped{6, 2, 32}, kOdd{3, 3, 10, false, 22}, kWide{2, 1, 48, false, 80};

TEST_CASE("attention does not depend on how a text is cut into forward passes, to the bit") {
  std::mt19937 random(6);
  for (const Kind& kind : kKinds) {
    const OnPath path(kind);
    if (!path.usable()) continue;
    const int length = path.emulated() ? 150 : 700;  // with segments to be joined, or pieces at least
    for (const HeadLayout& layout : {kGrouped, kOdd, kWide}) {
      const KnownText text(layout, kind, length);
      for (const int window : {0, 90}) {
        INFO(kind.name << ", heads of " << layout.head_dim << ", window " << window);
        const int whole[] = {length};
        const at::Tensor all = in_pieces(text, whole, window);
        CHECK((all.to(at::kDouble) - exact(text, length, window)).abs().max().item<double>() <
              (kind.type == at::kFloat ? 1e-4 : 0.03));
        std::vector<int> sizes;
        for (int left = length; left > 0; left -= sizes.back())
          sizes.push_back(std::min<int>(left, 1 + static_cast<int>(random() % (sizes.size() % 3 == 0 ? 3 : 140))));
        CHECK(at::equal(in_pieces(text, sizes, window), all));
        if (path.emulated()) continue;
        for (const int row : {0, 63, 64, 65, 300, 511, 512, 513, length - 1})
          CHECK(at::equal(text.piece(row, 1, window), all.narrow(0, row, 1)));
        const Threads one(1);
        CHECK(at::equal(in_pieces(text, sizes, window), all));
      }
    }
  }
}

TEST_CASE("sequences that are attended together are what they are alone") {
  for (const Kind& kind : kKinds) {
    const OnPath path(kind);
    if (!path.usable() || path.emulated()) continue;
    INFO(kind.name);
    const KnownText text(kGrouped, kind, 700);
    std::vector<AttentionMask> seen;
    std::vector<at::Tensor> alone;
    for (const auto& [first, count] : {std::pair{0, 1}, {30, 70}, {699, 1}, {511, 2}, {100, 16}}) {
      seen.push_back(text.chain(first, count, 0));
      alone.push_back(text.piece(first, count));
    }
    std::vector<AttendingRows> together;
    for (const AttentionMask& mask : seen)
      together.push_back(
          {text.queries(mask.base, mask.rows), text.cache, &mask, at::empty_like(alone[together.size()])});
    kernels::attention::attend_rows(together, text.layout, text.scale);
    for (std::size_t i = 0; i < alone.size(); ++i) CHECK(at::equal(together[i].out, alone[i]));
  }
}

// Random trees on texts of random lengths; each node against its path as a chain in a cache where it lies in line.
TEST_CASE("a node of a tree attends as its path would as a chain, to the bit") {
  std::mt19937 random(7);
  for (const Kind& kind : kKinds) {
    const OnPath path(kind);
    if (!path.usable()) continue;
    for (const int base : path.emulated() ? std::vector<int>{70} : std::vector<int>{0, 3, 64, 500, 511}) {
      for (const int window : {0, 5, 70}) {
        INFO(kind.name << ", on " << base << " positions, window " << window);
        const int size = path.emulated() ? 9 : 40;
        const KnownText text(kGrouped, kind, base + size);
        std::vector<int> parents(static_cast<std::size_t>(size), -1);
        for (int node = 1; node < size; ++node) parents[node] = static_cast<int>(random() % node);
        AttentionMask seen = text.chain(base, size, 0);
        seen.marks.assign(static_cast<std::size_t>(size) * size, 0);
        std::vector<std::vector<int>> paths;
        for (int node = 0; node < size; ++node) {
          paths.push_back(node == 0 ? std::vector<int>{} : paths[parents[node]]);
          paths.back().push_back(node);
          const int position = base + static_cast<int>(paths.back().size()) - 1;
          if (window > 0) seen.lowest.push_back(std::max(position - window + 1, 0));
          for (std::size_t depth = 0; depth < paths.back().size(); ++depth)
            if (window == 0 || base + static_cast<int>(depth) > position - window)
              seen.marks[static_cast<std::size_t>(node) * size + paths.back()[depth]] = 1;
        }
        const at::Tensor tree = text.attend(text.queries(base, size), text.cache, seen);
        for (int node = 0; node < size; ++node) {
          std::vector<std::int64_t> rows(static_cast<std::size_t>(base));
          std::iota(rows.begin(), rows.end(), 0);
          for (const int own : paths[node]) rows.push_back(base + own);
          const at::Tensor index = at::tensor(rows);
          CachedRows line{text.cache.keys.index_select(1, index), text.cache.values.index_select(1, index)};
          if (kind.int8) {
            line.key_scales = text.cache.key_scales.index_select(1, index);
            line.value_scales = text.cache.value_scales.index_select(1, index);
          }
          const auto last = static_cast<int>(rows.size()) - 1;
          const at::Tensor alone = text.attend(text.queries(base + node, 1), line, text.chain(last, 1, window));
          CHECK(at::equal(tree.narrow(0, node, 1), alone));
        }
      }
    }
  }
}

TEST_CASE("weights that are handed to a policy do not depend on the rows beside a row") {
  for (const Kind& kind : kKinds) {
    const OnPath path(kind);
    if (!path.usable() || path.emulated()) continue;
    INFO(kind.name);
    const KnownText text(kGrouped, kind, 200);
    const auto weights = [&](int first, int count) {
      return kernels::attention::attention_weights(text.queries(first, count), text.cache, text.chain(first, count, 0),
                                                   text.layout, text.scale);
    };
    const at::Tensor all = weights(0, 200);
    CHECK((all.sum(2) - 3).abs().max().item<float>() < 1e-4F);
    for (const auto& [first, count] : {std::pair{199, 1}, {64, 1}, {70, 9}, {20, 100}})
      CHECK(at::equal(weights(first, count), all.narrow(1, first, count).narrow(2, 0, first + count)));
  }
}

}  // namespace
}  // namespace foretell
