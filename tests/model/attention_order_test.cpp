// One order of sums: a row's attention is the same to the bit whatever is computed with it.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "tests/model/attention_text.h"
#include "tests/support/catch.h"

namespace foretell::testing {
namespace {

at::Tensor in_pieces(const KnownText& text, std::span<const int> sizes, int window = 0) {
  std::vector<at::Tensor> parts;
  int first = 0;
  for (const int size : sizes) {
    parts.push_back(text.piece(first, size, window));
    first += size;
  }
  return at::cat(parts);
}

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
        const AttentionMask seen = text.chain(0, length, window);
        int wrong = 0;
        for (int row = 0; row < length; ++row)
          for (int column = 0; column < length; ++column)
            wrong += seen.sees(row, column) != (column <= row && (window == 0 || column > row - window)) ? 1 : 0;
        CHECK(wrong == 0);
        const int whole[] = {length};
        const at::Tensor all = in_pieces(text, whole, window);
        CHECK((all.to(at::kDouble) - by_mask(text, 0, length, seen)).abs().max().item<double>() <
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
}  // namespace foretell::testing
