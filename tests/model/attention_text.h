// A text whose queries, keys and values are known, and the paths that attention over it can take.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <vector>

#include "framework/kernels/attention/attention_path.h"
#include "framework/kernels/attention/cached_attention.h"
#include "framework/kernels/tile_product.h"
#include "tests/support/tile_emulator.h"

namespace foretell::testing {

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

inline constexpr Kind kKinds[] = {{"f32", at::kFloat},
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

inline const HeadLayout kGrouped{6, 2, 32}, kOdd{3, 3, 10, false, 22}, kWide{2, 1, 48, false, 80};

// Softmax over what the mask shows, in float64.
inline at::Tensor by_mask(const KnownText& text, int first, int count, const AttentionMask& seen) {
  const auto plain = [](const at::Tensor& of, const at::Tensor& scales) {
    return scales.defined() ? of.to(at::kDouble) * scales.to(at::kDouble).unsqueeze(-1) : of.to(at::kDouble);
  };
  const std::int64_t group = text.layout.heads / text.layout.kv_heads;
  const at::Tensor keys = plain(text.cache.keys, text.cache.key_scales).narrow(1, 0, seen.end),
                   values = plain(text.cache.values, text.cache.value_scales).narrow(1, 0, seen.end);
  const at::Tensor queries = text.queries(first, count).to(at::kDouble).view({count, text.layout.heads, -1});
  at::Tensor scores = queries.transpose(0, 1).matmul(keys.repeat_interleave(group, 0).transpose(1, 2)) * text.scale;
  at::Tensor hidden = at::empty({count, seen.end}, at::kBool);
  for (int row = 0; row < count; ++row)
    for (int column = 0; column < seen.end; ++column)
      hidden.mutable_data_ptr<bool>()[row * seen.end + column] = !seen.sees(row, column);
  scores.masked_fill_(hidden, -std::numeric_limits<double>::infinity());
  return scores.softmax(-1).matmul(values.repeat_interleave(group, 0)).transpose(0, 1).reshape({count, -1});
}

}  // namespace foretell::testing
