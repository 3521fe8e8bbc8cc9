#include "framework/model/decoder_layer.h"

#include <ATen/ops/layer_norm.h>

#include <cmath>

#include "framework/model/attention.h"

namespace foretell {

at::Tensor Norm::forward(const at::Tensor& x) const {
  if (!gain.defined()) return x;
  if (kind == NormKind::Layer) return at::layer_norm(x, {x.size(1)}, gain, bias, eps);
  return rms_norm(x, gain, eps);
}

DecoderLayer::DecoderLayer(const ModelConfig& config, int layer, LayerWeights weights)
    : weights_(std::move(weights)),
      layout_{config.num_heads, config.num_kv_heads, config.head_dim, config.rope.interleaved},
      scale_(config.attention_scaled ? 1.0 / std::sqrt(config.head_dim) : 1.0),
      activation_(config.activation),
      gated_(config.gated_mlp) {
  if (config.attention_scaled_by_layer) scale_ /= layer + 1;
}

void DecoderLayer::attention(at::Tensor& x, const BatchPlan& plan, int cache_layer) const {
  const at::Tensor qkv = weights_.qkv.forward(weights_.attention_norm.forward(x));
  rotate_and_store(qkv, layout_, plan, cache_layer);
  x.add_(weights_.output.forward(attend(qkv, layout_, plan, cache_layer, scale_)));
}

void DecoderLayer::mlp(at::Tensor& x) const {
  const at::Tensor up = weights_.up.forward(weights_.mlp_norm.forward(x));
  if (!gated_) {
    x.add_(weights_.down.forward(activate(up, activation_)));
    return;
  }
  // Shazeer 2020, arXiv 2002.05202: activation(gate) * up.
  const std::int64_t width = up.size(1) / 2;
  const at::Tensor gate = activate(up.narrow(1, 0, width), activation_);
  x.add_(weights_.down.forward(gate.mul(up.narrow(1, width, width))));
}

std::size_t DecoderLayer::bytes() const {
  const LayerWeights& w = weights_;
  return w.attention_norm.bytes() + w.qkv.bytes() + w.output.bytes() + w.mlp_norm.bytes() + w.up.bytes() + w.down.bytes();
}

}  // namespace foretell
