#include "framework/model/transformer_cache.h"

#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <iterator>

#include "framework/core/error.h"

namespace foretell::model {
namespace {

void check_range(LayerRange layers, int num_layers) {
  FORETELL_CHECK(!layers.empty() && layers.first >= 0 && layers.last <= num_layers, "layers [{}, {}) of {}",
                 layers.first, layers.last, num_layers);
}

}  // namespace

TransformerCache::TransformerCache(int num_layers, int kv_heads, int capacity, int head_dim,
                                   const at::TensorOptions& options, std::optional<int> value_dim)
    : lengths_(num_layers, 0), hidden_(static_cast<std::size_t>(num_layers)) {
  FORETELL_CHECK(capacity > 0, "a cache of {} rows", capacity);
  keys_ = at::zeros({num_layers, kv_heads, capacity, head_dim}, options);
  values_ = at::zeros({num_layers, kv_heads, capacity, value_dim.value_or(head_dim)}, options);
  if (options.dtype() == at::kChar) {
    key_scales_ = at::zeros({num_layers, kv_heads, capacity}, options.dtype(at::kFloat));
    value_scales_ = at::zeros_like(key_scales_);
  }
  for (int layer = 0; layer < num_layers; ++layer) {
    layer_keys_.push_back(keys_.select(0, layer));
    layer_values_.push_back(values_.select(0, layer));
  }
}

int TransformerCache::length(LayerRange layers) const {
  check_range(layers, num_layers());
  const int length = lengths_[layers.first];
  for (int layer = layers.first; layer < layers.last; ++layer) {
    FORETELL_CHECK(lengths_[layer] == length, "layer {} holds {} rows, layer {} holds {}", layers.first, length, layer,
                   lengths_[layer]);
  }
  return length;
}

void TransformerCache::truncate(LayerRange layers, int length) {
  check_range(layers, num_layers());
  FORETELL_CHECK(length >= 0, "length {}", length);
  for (int layer = layers.first; layer < layers.last; ++layer) {
    lengths_[layer] = std::min(lengths_[layer], length);
    std::erase_if(hidden_[layer], [length](int row) { return row >= length; });
  }
}

void TransformerCache::pad(int length) {
  FORETELL_CHECK(length <= capacity(), "{} rows in a cache of {}", length, capacity());
  for (int& held : lengths_) held = std::max(held, length);
}

void TransformerCache::keep(LayerRange layers, int base, std::span<const int> rows) {
  const int before = length(layers);
  const int count = static_cast<int>(rows.size());
  FORETELL_CHECK(base >= 0 && base <= before, "base {} of {} rows", base, before);
  std::vector<std::int64_t> moved;  // absolute source rows of those that do not stay where they are
  int staying = 0;
  for (int i = 0; i < count; ++i) {
    FORETELL_CHECK(rows[i] >= (i == 0 ? 0 : rows[i - 1] + 1) && base + rows[i] < before,
                   "kept row {} of {} above base {}", rows[i], before - base, base);
    if (rows[i] == i) {
      staying = i + 1;
    } else {
      moved.push_back(base + rows[i]);
    }
  }
  if (!moved.empty()) {
    const c10::InferenceMode inference;
    const at::Tensor source = at::tensor(moved, at::kLong).to(keys_.device());
    for (const at::Tensor& whole : {keys_, values_, key_scales_, value_scales_}) {
      if (!whole.defined()) continue;
      const at::Tensor part = whole.narrow(0, layers.first, layers.last - layers.first);
      part.narrow(2, base + staying, count - staying).copy_(part.index_select(2, source));
    }
  }
  for (int layer = layers.first; layer < layers.last; ++layer) {
    lengths_[layer] = base + count;
    std::vector<int> hidden;
    for (const int row : hidden_[layer]) {
      if (row < base) hidden.push_back(row);
      const auto place = std::ranges::lower_bound(rows, row - base);
      if (row >= base && place != rows.end() && *place == row - base)
        hidden.push_back(base + static_cast<int>(place - rows.begin()));
    }
    hidden_[layer] = std::move(hidden);
  }
}

std::size_t TransformerCache::bytes() const {
  std::size_t bytes = keys_.nbytes() + values_.nbytes();
  if (key_scales_.defined()) bytes += key_scales_.nbytes() + value_scales_.nbytes();
  return bytes;
}

kernels::attention::CachedRows TransformerCache::rows(int layer) const {
  if (!key_scales_.defined()) return {keys(layer), values(layer)};
  return {keys(layer), values(layer), key_scales_.select(0, layer), value_scales_.select(0, layer)};
}

void TransformerCache::copy_up(LayerRange layers, const at::Tensor& rows) {
  for (const at::Tensor& whole : {keys_, values_, key_scales_, value_scales_}) {
    if (!whole.defined()) continue;
    const at::Tensor below = whole.select(0, layers.first - 1).index_select(1, rows);
    for (int layer = layers.first; layer < layers.last; ++layer) whole.select(0, layer).index_copy_(1, rows, below);
  }
}

void TransformerCache::grow(LayerRange layers, int rows) {
  for (int layer = layers.first; layer < layers.last; ++layer) lengths_[layer] += rows;
}

void TransformerCache::hide(int layer, std::span<const int> rows) {
  std::vector<int> all;
  std::ranges::set_union(hidden_[layer], rows, std::back_inserter(all));
  hidden_[layer] = std::move(all);
}

void TransformerCache::show(LayerRange layers, int row) {
  for (int layer = layers.first; layer < layers.last; ++layer) std::erase(hidden_[layer], row);
}

}  // namespace foretell::model
