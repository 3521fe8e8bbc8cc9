// The keys and values of one sequence in a Transformer.
//
// Contract: as in kv_cache.h. Keys and values are two tensors [layers, kv_heads, capacity, width], allocated once and
// zeroed, so that a row that was never written (its attention was skipped) is finite. As int8 each row of a head has a
// scale beside it (attention_panels.h), for keys and for values.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <span>
#include <vector>

#include "framework/kernels/attention/cached_attention.h"
#include "framework/model/kv_cache.h"

namespace foretell::model {

class TransformerCache final : public KvCache {
 public:
  // Values are as wide as keys unless `value_dim` says otherwise.
  TransformerCache(int num_layers, int kv_heads, int capacity, int head_dim, const at::TensorOptions& options,
                   std::optional<int> value_dim = std::nullopt);

  int num_layers() const override { return static_cast<int>(lengths_.size()); }
  int capacity() const override { return static_cast<int>(keys_.size(2)); }
  int length(LayerRange layers) const override;
  void truncate(LayerRange layers, int length) override;
  void keep(LayerRange layers, int base, std::span<const int> rows) override;
  void pad(int length) override;
  std::size_t bytes() const override;
  using KvCache::keep;
  using KvCache::length;
  using KvCache::truncate;

  // [kv_heads, capacity, head_dim], values [kv_heads, capacity, value_dim]
  const at::Tensor& keys(int layer) const { return layer_keys_[layer]; }
  const at::Tensor& values(int layer) const { return layer_values_[layer]; }
  kernels::attention::CachedRows rows(int layer) const;
  // Rows of the layer below the range get the same keys and values in all layers of it.
  void copy_up(LayerRange layers, const at::Tensor& rows);
  void grow(LayerRange layers, int rows);
  // Rows (increasing) that a layer holds no keys and values of, so that it must not see them: until they are dropped,
  // or shown because the layer has computed them. A row that pad() added is not among them.
  void hide(int layer, std::span<const int> rows);
  void show(LayerRange layers, int row);
  const std::vector<int>& hidden(int layer) const { return hidden_[layer]; }

 private:
  at::Tensor keys_;
  at::Tensor values_;
  at::Tensor key_scales_, value_scales_;  // [layers, kv_heads, capacity] if int8
  std::vector<at::Tensor> layer_keys_;    // views
  std::vector<at::Tensor> layer_values_;
  std::vector<int> lengths_;
  std::vector<std::vector<int>> hidden_;  // by layer, increasing
};

}  // namespace foretell::model
