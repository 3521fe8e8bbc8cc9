// One decoder layer: attention and MLP, each behind its norm and added to the residual stream.
//
// Contract: weights only. The two sublayers can be run apart, so that either may be left out, and a layer can be used alone by a drafter that brings
// its own caches: `cache_layer` is the layer of the items' caches that this layer's keys go to. x is changed in place.
#pragma once

#include <ATen/core/Tensor.h>

#include "framework/model/batch_plan.h"
#include "framework/model/files/model_config.h"
#include "framework/model/kernels.h"
#include "framework/model/linear.h"

namespace foretell {

// Without a gain there is no norm here: rows go through as they are.
struct Norm {
  NormKind kind = NormKind::Rms;
  double eps = 1e-5;
  at::Tensor gain;  // [width]
  at::Tensor bias;  // [width]; LayerNorm only (Ba et al. 2016, arXiv 1607.06450)

  at::Tensor forward(const at::Tensor& x) const;  // [rows, width]
  std::size_t bytes() const { return (gain.defined() ? gain.nbytes() : 0) + (bias.defined() ? bias.nbytes() : 0); }
};

struct LayerWeights {
  Norm attention_norm;
  Linear qkv;     // [(heads + 2 kv_heads) * head_dim, hidden]
  Linear output;  // [hidden, heads * head_dim]
  Norm mlp_norm;
  Linear up;    // [intermediate, hidden]; gated: [2 * intermediate, hidden], the gate first
  Linear down;  // [hidden, intermediate]
};

class DecoderLayer {
 public:
  // `layer` counts from 0; some families scale attention by it.
  DecoderLayer(const ModelConfig& config, int layer, LayerWeights weights);

  void attention(at::Tensor& x, const BatchPlan& plan, int cache_layer) const;  // x [rows, hidden]
  void mlp(at::Tensor& x) const;

  std::size_t bytes() const;

 private:
  LayerWeights weights_;
  HeadLayout layout_;
  double scale_;
  Activation activation_;
  bool gated_;
};

}  // namespace foretell
