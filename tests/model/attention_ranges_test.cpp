// Attention over a part of a cache, read where it lies: listed columns, and ranges of each row's own.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <numeric>
#include <random>
#include <vector>

#include "framework/core/error.h"
#include "tests/model/attention_text.h"
#include "tests/support/catch.h"

namespace foretell::testing {
namespace {

using kernels::attention::PositionRange;

// The last one holds `own`.
std::vector<PositionRange> random_ranges(std::mt19937& random, int own) {
  std::vector<PositionRange> out;
  const auto gap = [&, most = 1 + random() % 200] { return 1 + static_cast<int>(random() % most); };
  for (int at = gap() - 1; at < own - 1;) {
    const int end = std::min(own - 1, at + 1 + static_cast<int>(random() % (random() % 2 == 0 ? 4 : 150)));
    out.push_back({at, end});
    at = end + gap();
  }
  out.push_back({own - static_cast<int>(own > 0 && (out.empty() || out.back().end < own) ? random() % 2 : 0), own + 1});
  return out;
}

double tolerance(const Kind& kind) { return kind.type == at::kFloat ? 1e-5 : 0.03; }

AttentionMask with_ranges(AttentionMask seen, std::mt19937& random) {
  for (int row = 0; row < seen.rows; ++row) {
    int own = seen.base;  // its position
    for (int column = seen.base; column < seen.end; ++column) own += seen.on_path(row, column) ? 1 : 0;
    seen.add_ranges(random_ranges(random, own - 1));
  }
  return seen;
}

TEST_CASE("rows of one forward pass see ranges of their own, as a mask would show them") {
  std::mt19937 random(11);
  for (const Kind& kind : kKinds) {
    const OnPath path(kind);
    if (!path.usable()) continue;
    for (const HeadLayout& layout : {kGrouped, kOdd}) {
      for (const auto& [first, count] : {std::pair{600, 1}, {601, 7}, {512, 70}, {30, 3}}) {
        if (path.emulated() && first > 100) continue;
        INFO(kind.name << ", " << count << " rows behind " << first);
        const KnownText text(layout, kind, first + count);
        const AttentionMask seen = with_ranges(text.chain(first, count, 0), random);
        const at::Tensor all = text.attend(text.queries(first, count), text.cache, seen);
        CHECK((all.to(at::kDouble) - by_mask(text, first, count, seen)).abs().max().item<double>() < tolerance(kind));
        for (int row = 0; row < count; ++row) {  // nor does a row's result depend on what the others see
          const std::vector<int> one{row};
          const at::Tensor alone = text.attend(text.queries(first + row, 1), text.cache, seen.select(one));
          CHECK(at::equal(alone, all.narrow(0, row, 1)));
        }
      }
    }
  }
}

TEST_CASE("ranges of everything change no bit") {
  for (const Kind& kind : kKinds) {
    const OnPath path(kind);
    if (!path.usable() || path.emulated()) continue;
    INFO(kind.name);
    const KnownText text(kGrouped, kind, 580);
    AttentionMask seen = text.chain(570, 10, 0);
    const PositionRange whole[] = {{0, 580}};
    for (int row = 0; row < 10; ++row) seen.add_ranges(whole);
    CHECK(at::equal(text.attend(text.queries(570, 10), text.cache, seen), text.piece(570, 10)));
  }
}

TEST_CASE("nodes of a tree see ranges of their own") {
  std::mt19937 random(12);
  for (const Kind& kind : kKinds) {
    const OnPath path(kind);
    if (!path.usable() || path.emulated()) continue;
    for (const int base : {5, 64, 700}) {
      INFO(kind.name << ", on " << base << " positions");
      const int size = 12;
      const KnownText text(kGrouped, kind, base + size);
      AttentionMask seen = text.chain(base, size, 0);
      seen.marks.assign(static_cast<std::size_t>(size) * size, 0);
      for (int node = 0; node < size; ++node) {
        if (node > 0) {
          const auto parent = static_cast<std::ptrdiff_t>(random() % node);
          std::copy_n(seen.marks.begin() + parent * size, size, seen.marks.begin() + node * size);
        }
        seen.marks[static_cast<std::size_t>(node) * size + node] = 1;
      }
      seen = with_ranges(std::move(seen), random);
      const at::Tensor all = text.attend(text.queries(base, size), text.cache, seen);
      CHECK((all.to(at::kDouble) - by_mask(text, base, size, seen)).abs().max().item<double>() < tolerance(kind));
      for (int node = 0; node < size; ++node) {  // as a chain whose rows lie in line, to the bit
        std::vector<std::int64_t> line(static_cast<std::size_t>(base));
        std::iota(line.begin(), line.end(), 0);
        for (int own = 0; own < size; ++own)
          if (seen.on_path(node, base + own)) line.push_back(base + own);
        const at::Tensor index = at::tensor(line);
        CachedRows cache{text.cache.keys.index_select(1, index), text.cache.values.index_select(1, index)};
        if (kind.int8) {
          cache.key_scales = text.cache.key_scales.index_select(1, index);
          cache.value_scales = text.cache.value_scales.index_select(1, index);
        }
        AttentionMask chain = text.chain(static_cast<int>(line.size()) - 1, 1, 0);
        chain.add_ranges(seen.ranges_of(node));
        CHECK(at::equal(text.attend(text.queries(base + node, 1), cache, chain), all.narrow(0, node, 1)));
      }
    }
  }
}

// What a library's operators would be given instead.
CachedRows gathered(const CachedRows& cache, std::span<const int> columns, bool per_head) {
  const std::int64_t heads = cache.keys.size(0),
                     width = static_cast<std::int64_t>(columns.size()) / (per_head ? heads : 1);
  const auto rows_of = [&](const at::Tensor& all) {
    std::vector<at::Tensor> out;
    for (std::int64_t head = 0; head < heads; ++head) {
      const auto own =
          columns.subspan(static_cast<std::size_t>(per_head ? head * width : 0), static_cast<std::size_t>(width));
      out.push_back(all[head].index_select(0, at::tensor(std::vector<std::int64_t>(own.begin(), own.end()))));
    }
    return at::stack(out).contiguous();
  };
  CachedRows out{rows_of(cache.keys), rows_of(cache.values)};
  if (cache.key_scales.defined()) {
    out.key_scales = rows_of(cache.key_scales);
    out.value_scales = rows_of(cache.value_scales);
  }
  return out;
}

TEST_CASE("listed columns are attended where they lie as if they were copied together, to the bit") {
  std::mt19937 random(13);
  for (const Kind& kind : kKinds) {
    const OnPath path(kind);
    if (!path.usable() || path.emulated()) continue;
    for (const bool per_head : {false, true}) {
      for (const auto& [base, kept, count] : {std::tuple{600, 200, 5}, {600, 599, 1}, {90, 3, 70}, {640, 0, 2}}) {
        INFO(kind.name << ", " << kept << " of " << base << ", " << count << " rows" << (per_head ? ", by head" : ""));
        const KnownText text(kGrouped, kind, base + count);
        std::vector<int> columns;
        for (int list = 0; list < (per_head ? kGrouped.kv_heads : 1); ++list) {
          std::vector<int> all(static_cast<std::size_t>(base));
          std::iota(all.begin(), all.end(), 0);
          std::shuffle(all.begin() + kept / 2, all.end(), random);  // the first ones lie in line
          std::sort(all.begin(), all.begin() + kept);
          columns.insert(columns.end(), all.begin(), all.begin() + kept);
          for (int own = 0; own < count; ++own) columns.push_back(base + own);
        }
        CachedRows listed = text.cache;
        listed.columns = columns;
        listed.columns_per_head = per_head;
        const CachedRows copied = gathered(text.cache, columns, per_head);
        AttentionMask chain = text.chain(kept, count, 0), tree = chain;
        tree.marks.assign(static_cast<std::size_t>(count) * count, 0);  // all of them children of the first
        for (int row = 0; row < count; ++row)
          tree.marks[static_cast<std::size_t>(row) * count] = tree.marks[static_cast<std::size_t>(row) * count + row] =
              1;
        const at::Tensor queries = text.queries(base, count);
        for (const AttentionMask& seen : {chain, tree}) {
          CHECK(at::equal(text.attend(queries, listed, seen), text.attend(queries, copied, seen)));
          const auto weights = [&](const CachedRows& over) {
            return kernels::attention::attention_weights(queries, over, seen, text.layout, text.scale);
          };
          CHECK(at::equal(weights(listed), weights(copied)));
        }
      }
    }
  }
}

TEST_CASE("a mask with ranges counts and selects as it shows") {
  std::mt19937 random(14);
  AttentionMask seen;
  seen.rows = 6;
  seen.base = 300;
  seen.end = 306;
  seen = with_ranges(std::move(seen), random);
  const auto by_hand = [](const AttentionMask& of, int row) {
    int count = 0;
    for (int column = of.first; column < of.end; ++column) count += of.sees(row, column) ? 1 : 0;
    return count;
  };
  const std::vector<int> chosen{1, 2, 5};
  for (const AttentionMask& mask : {seen, seen.select(chosen)})
    for (int row = 0; row < mask.rows; ++row) CHECK(mask.count(row) == by_hand(mask, row));
  for (std::size_t i = 0; i < chosen.size(); ++i)
    for (int column = 0; column < seen.end; ++column)
      CHECK(seen.select(chosen).sees(static_cast<int>(i), column) == seen.sees(chosen[i], column));
}

}  // namespace
}  // namespace foretell::testing
