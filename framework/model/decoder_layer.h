// One decoder layer: attention and MLP, each behind its norm and added to the residual stream.
//
// Contract: weights only. The two sublayers can be run apart, so that either may be left out, and a layer can be used
// alone by a drafter that brings its own caches: `cache_layer` is the layer of the items' caches that this layer's keys
// go to. x is changed in place.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "framework/formats/model_config.h"
#include "framework/kernels/kernels.h"
#include "framework/model/attention.h"
#include "framework/model/batch_plan.h"
#include "framework/model/experts.h"
#include "framework/model/linear.h"
#include "framework/model/norm.h"

namespace foretell::model {

struct LayerWeights {
  Norm attention_norm;
  Linear qkv = {};     // [(heads + 2 kv_heads) * head_dim, hidden]; not used where `latent` is there
  Linear output = {};  // [hidden, heads * value_dim]
  Norm mlp_norm = {};
  Linear up = {};    // [intermediate, hidden]; gated: [2 * intermediate, hidden], the gate first; not used where
                     // `experts` is there
  Linear down = {};  // [hidden, intermediate]
  Norm query_norm = {}, key_norm = {};  // without gains where the config has no such norms
  std::optional<LatentWeights> latent = {};
  std::optional<ExpertBlock> experts = {};
};

class DecoderLayer {
 public:
  // `layer` counts from 0; some families scale attention by it.
  DecoderLayer(const formats::ModelConfig& config, int layer, LayerWeights weights);

  void attention(at::Tensor& x, const BatchPlan& plan, int cache_layer) const;  // x [rows, hidden]
  // `normed` is what the projections read, of their own width, in place of x behind the layer's norm.
  void attention(at::Tensor& x, const at::Tensor& normed, const BatchPlan& plan, int cache_layer) const;
  // Keys and values alone: writes those of x to the items' caches and leaves x as it is. Lengths are the caller's
  // business, as in attention(). The queries are computed, too: they stand in one matrix with the keys.
  void store(const at::Tensor& x, const BatchPlan& plan, int cache_layer) const;
  // The same of `normed`, what the projections read, as in attention().
  void store_normed(const at::Tensor& normed, const BatchPlan& plan, int cache_layer) const {
    stored_qkv(normed, plan, cache_layer);
  }
  void mlp(at::Tensor& x, const ExpertContext& context = {}) const;
  // Both, in the order of the config: one after the other, or side by side.
  void forward(at::Tensor& x, const BatchPlan& plan, int cache_layer, const ExpertContext& context = {}) const;
  // The matrices with int8 weights.
  DecoderLayer rounded(const WeightRounding& to) const;
  bool has_experts() const { return weights_.experts.has_value(); }
  // What the layer is made of; is_plain(): an RMS norm, rotated attention, the same norm and a gated MLP, one after the
  // other, nothing else (plain_forward.h).
  const LayerWeights& weights() const { return weights_; }
  const kernels::HeadLayout& layout() const { return layout_; }
  double scale() const { return scale_; }
  Activation activation() const { return activation_; }
  bool is_plain() const;

  std::size_t bytes() const;  // that one row reads

 private:
  at::Tensor stored_qkv(const at::Tensor& normed, const BatchPlan& plan, int cache_layer) const;
  void norm_queries_and_keys(const at::Tensor& qkv) const;
  at::Tensor mlp_of(const at::Tensor& x, const ExpertContext& context) const;

  LayerWeights weights_;
  kernels::HeadLayout layout_;
  double scale_;
  std::optional<double> qkv_limit_;
  Activation activation_;
  bool gated_;
  bool parallel_;
};

}  // namespace foretell::model
