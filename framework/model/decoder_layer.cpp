#include "framework/model/decoder_layer.h"

#include "framework/model/forward_probe.h"
#include "framework/model/rope.h"

namespace foretell::model {
namespace {

using Part = ForwardProbe::Part;

kernels::HeadLayout layout_of(const formats::ModelConfig& config, int layer) {
  kernels::HeadLayout layout{config.num_heads, config.num_kv_heads, config.head_dim, config.rope.interleaved};
  layout.windowed = config.is_windowed(layer);
  if (!config.latent) return layout;
  layout.other_value_dim = config.latent->value_dim;
  layout.rotary_first = config.latent->plain_dim;
  return layout;
}

}  // namespace

DecoderLayer::DecoderLayer(const formats::ModelConfig& config, int layer, LayerWeights weights)
    : weights_(std::move(weights)),
      layout_(layout_of(config, layer)),
      scale_(attention_scale(config, layer)),
      qkv_limit_(config.qkv_limit),
      activation_(config.activation),
      gated_(config.gated_mlp),
      parallel_(config.parallel_residual) {}

// Queries, keys and values [rows, layout.width()], rotated; keys and values are in the caches.
at::Tensor DecoderLayer::stored_qkv(const at::Tensor& normed, const BatchPlan& plan, int cache_layer) const {
  at::Tensor qkv = weights_.latent ? latent_qkv(normed, *weights_.latent, layout_) : weights_.qkv.forward(normed);
  norm_queries_and_keys(qkv);
  mark(plan.probe, Part::Qkv);
  rotate_and_store(qkv, layout_, plan, cache_layer);
  mark(plan.probe, Part::Rope);
  return qkv;
}

void DecoderLayer::store(const at::Tensor& x, const BatchPlan& plan, int cache_layer) const {
  stored_qkv(weights_.attention_norm.forward(x), plan, cache_layer);
}

void DecoderLayer::attention(at::Tensor& x, const at::Tensor& normed, const BatchPlan& plan, int cache_layer) const {
  const at::Tensor qkv = stored_qkv(normed, plan, cache_layer);
  const at::Tensor attended = attend(qkv, layout_, plan, cache_layer, scale_);
  mark(plan.probe, Part::Attention);
  weights_.output.add_to(x, attended);
  mark(plan.probe, Part::Output);
}

void DecoderLayer::attention(at::Tensor& x, const BatchPlan& plan, int cache_layer) const {
  const at::Tensor normed = weights_.attention_norm.forward(x);
  mark(plan.probe, Part::Norm);
  attention(x, normed, plan, cache_layer);
}

void DecoderLayer::norm_queries_and_keys(const at::Tensor& qkv) const {
  const std::int64_t queries = std::int64_t{layout_.heads} * layout_.head_dim,
                     keys = std::int64_t{layout_.kv_heads} * layout_.head_dim;
  const auto norm = [&](std::int64_t first, std::int64_t width, const Norm& part) {
    if (part.gain.defined()) kernels::rms_norm_parts(qkv, first, width / part.gain.size(0), part.gain, part.eps);
  };
  norm(0, queries, weights_.query_norm);
  norm(queries, keys, weights_.key_norm);
  if (qkv_limit_) qkv.clamp_(-*qkv_limit_, *qkv_limit_);
}

at::Tensor DecoderLayer::mlp_of(const at::Tensor& x, const ExpertContext& context) const {
  const at::Tensor normed = weights_.mlp_norm.forward(x);
  mark(context.probe, Part::Norm);
  if (weights_.experts) return weights_.experts->forward(normed, context);
  return mlp_rows(normed, weights_.up, weights_.down, activation_, gated_);
}

void DecoderLayer::mlp(at::Tensor& x, const ExpertContext& context) const {
  if (weights_.experts) {
    x.add_(mlp_of(x, context));
  } else {
    const at::Tensor normed = weights_.mlp_norm.forward(x);
    mark(context.probe, Part::Norm);
    weights_.down.add_to(x, mlp_inside(normed, weights_.up, activation_, gated_));
  }
  mark(context.probe, Part::Mlp);
}

void DecoderLayer::forward(at::Tensor& x, const BatchPlan& plan, int cache_layer, const ExpertContext& context) const {
  const at::Tensor beside = parallel_ ? mlp_of(x, context) : at::Tensor();
  if (parallel_) mark(context.probe, Part::Mlp);
  attention(x, plan, cache_layer);
  if (!parallel_) return mlp(x, context);
  x.add_(beside);
  mark(context.probe, Part::Mlp);
}

DecoderLayer DecoderLayer::rounded(const WeightRounding& to) const {
  DecoderLayer copy = *this;
  LayerWeights& w = copy.weights_;
  for (Linear* matrix : {&w.qkv, &w.output, &w.down}) *matrix = matrix->rounded(to, false);
  w.up = w.up.rounded(to, gated_);
  if (w.latent) {
    for (Linear* matrix : {&w.latent->query_down, &w.latent->query_up, &w.latent->kv_down, &w.latent->kv_up})
      *matrix = matrix->rounded(to, false);
  }
  if (w.experts) w.experts->round_weights(to);
  return copy;
}

bool DecoderLayer::is_plain() const {
  const LayerWeights& w = weights_;
  const bool same_kind = gated_ && !parallel_ && !qkv_limit_ && !w.latent && !w.experts;
  return same_kind && w.attention_norm.is_rms() && w.mlp_norm.is_rms() && !w.query_norm.gain.defined() &&
         !w.key_norm.gain.defined() && w.qkv.packed() && w.output.packed() && w.up.packed() && w.down.packed();
}

std::size_t DecoderLayer::bytes() const {
  const LayerWeights& w = weights_;
  std::size_t bytes =
      w.attention_norm.bytes() + w.qkv.bytes() + w.output.bytes() + w.mlp_norm.bytes() + w.up.bytes() + w.down.bytes();
  bytes += w.query_norm.bytes() + w.key_norm.bytes();
  if (w.latent) bytes += w.latent->bytes();
  if (w.experts) bytes += w.experts->bytes_for_one_row();
  return bytes;
}

}  // namespace foretell::model
