#include "framework/training/learners/unrolled.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>

#include "framework/model/heads/feature_head.h"
#include "framework/model/rope.h"
#include "framework/training/learners/heads.h"

namespace foretell::training::learners {
namespace {

using model::heads::FeatureHead;

struct SequenceRows {
  std::int64_t first, length;
};

// The id of the target's token that a head would draft behind each feature.
at::Tensor best_tokens(const FeatureHead& head, const at::Tensor& features) {
  at::Tensor best = head.logits(features).argmax(-1).to(at::kCPU);
  const std::span<const Token> ids = head.target_ids();
  if (ids.empty()) return best;
  at::Tensor out = best.clone();
  std::int64_t* values = out.mutable_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < out.numel(); ++i) values[i] = ids[static_cast<std::size_t>(values[i])];
  return out;
}

// Rows of step s see what rows of step 0 see, and those of the same draft from step 1 to s.
at::Tensor visible_rows(std::int64_t steps, const at::Tensor& before, const at::Tensor& own) {
  const std::int64_t length = own.size(0);
  at::Tensor visible = at::zeros({steps * length, steps * length}, at::kBool);
  for (std::int64_t s = 0; s < steps; ++s) {
    visible.narrow(0, s * length, length).narrow(1, 0, length).copy_(before);
    for (std::int64_t seen = 1; seen <= s; ++seen)
      visible.narrow(0, s * length, length).narrow(1, seen * length, length).copy_(own);
  }
  return visible;
}

struct TextTokens {
  at::Tensor behind, next;  // by row of the batch the token behind it: int32; and the one that has a loss, or -1
};

void add_hits(const FeatureHead& head, const autograd::TrainBatch& batch, SequenceRows at, const at::Tensor& states,
              const TextTokens& text, at::Tensor& hits) {
  const c10::InferenceMode inference;
  const std::int64_t length = at.length, depth = hits.size(0);
  const auto part = [&](const at::Tensor& of) { return of.narrow(0, at.first, length); };
  const at::Tensor row = part(batch.positions).to(at::kCPU);
  const at::Tensor own = row.unsqueeze(1).eq(row.unsqueeze(0)), before = row.unsqueeze(1).ge(row.unsqueeze(0));
  Tokens tokens;
  std::vector<int> positions;
  at::Tensor features = head.condition(part(states)), fed;
  for (std::int64_t step = 0; step < depth && step + 1 < length; ++step) {
    const auto ids = std::span(part(text.behind).const_data_ptr<std::int32_t>(), static_cast<std::size_t>(length));
    for (std::int64_t t = 0; t < length; ++t) {
      tokens.push_back(ids[static_cast<std::size_t>(std::min(t + step, length - 1))]);
      positions.push_back(static_cast<int>(t + step));
    }
    if (step > 0) features = at::cat({features, fed.to(features.options())});
    const std::int64_t steps = step + 1;
    const auto cache = head.make_cache(static_cast<int>(steps * length));
    const model::ForwardItem item{head.fuse(tokens, features),
                                  model::MaskedShape{positions, visible_rows(steps, before, own)}, cache.get(),
                                  model::LogitRows::None};
    fed = head.forward(std::span(&item, 1)).narrow(0, step * length, length);
    const at::Tensor best = best_tokens(head, fed).narrow(0, 0, length - steps);
    const at::Tensor expected = part(text.next).narrow(0, steps, length - steps);
    hits[step]
        .narrow(0, at.first, length - steps)
        .copy_(at::where(expected.lt(0), expected, best.eq(expected).to(at::kLong)));
  }
}

}  // namespace

UnrolledLayer::UnrolledLayer(formats::ModelConfig config, std::int64_t input, std::int64_t seed, at::Device device)
    : config_(std::move(config)), frequencies_(model::rope_frequencies(config_)) {
  const std::int64_t hidden = config_.hidden_size, inner = config_.intermediate_size;
  qkv_ = new_matrix("qkv", queries() + 2 * keys(), input, seed, device);
  attended_ = new_matrix("output", hidden, queries(), seed, device);
  norm_ = new_gain(hidden, device);
  up_ = new_matrix("up", 2 * inner, hidden, seed, device);
  down_ = new_matrix("down", hidden, inner, seed, device);
}

at::Tensor UnrolledLayer::forward(const autograd::TrainBatch& batch, at::Tensor x, const at::Tensor& read,
                                  std::vector<autograd::UnrolledStep>& steps) const {
  const auto number = static_cast<std::int64_t>(steps.size());
  steps.push_back(
      {at::linear(read, qkv_), autograd::rotary_rows(batch.positions + number, frequencies_, 1, x.device())});
  const autograd::TrainingAttention attention{
      {config_.num_heads, config_.num_kv_heads, config_.head_dim, config_.rope.interleaved},
      steps.back().rotary,
      batch.groups,
      1 / std::sqrt(static_cast<double>(config_.head_dim))};
  x = x + at::linear(autograd::attend_unrolled_training(steps, attention), attended_);
  const at::Tensor normed = autograd::rms_norm_training(x, norm_, config_.norm_eps);
  return x + at::linear(autograd::gated_training(at::linear(normed, up_), config_.activation), down_);
}

void UnrolledLayer::add_parameters(std::vector<autograd::TrainParameter>& all) const {
  all.insert(all.end(), {{"qkv", qkv_, true},
                         {"output", attended_, true},
                         {"mlp_norm", norm_, false},
                         {"up", up_, true},
                         {"down", down_, true}});
}

void UnrolledLayer::add_named(NamedTensorList& all, const std::string& stem) const {
  const std::int64_t inner = config_.intermediate_size;
  const at::Tensor qkv = qkv_.detach(), up = up_.detach();
  all.insert(all.end(), {{stem + "self_attn.q_proj.weight", qkv.narrow(0, 0, queries())},
                         {stem + "self_attn.k_proj.weight", qkv.narrow(0, queries(), keys())},
                         {stem + "self_attn.v_proj.weight", qkv.narrow(0, queries() + keys(), keys())},
                         {stem + "self_attn.o_proj.weight", attended_.detach()},
                         {stem + "post_attention_layernorm.weight", norm_.detach()},
                         {stem + "mlp.gate_proj.weight", up.narrow(0, 0, inner)},
                         {stem + "mlp.up_proj.weight", up.narrow(0, inner, inner)},
                         {stem + "mlp.down_proj.weight", down_.detach()}});
}

at::Tensor tokens_behind(const autograd::TrainBatch& batch, const NextTokens& next) {
  return at::where(next.token.ge(0), next.token, shifted(batch.tokens, batch, 1, 0));
}

Said said(const autograd::TrainBatch& batch, const at::Tensor& states, int step) {
  const std::int64_t ahead = step + 1;
  const at::Tensor chosen = batch.positions.index_select(0, batch.loss_rows).ge(ahead).nonzero().view({-1});
  const auto pick = [&](const at::Tensor& of) { return of.index_select(0, chosen); };
  const at::Tensor rows = pick(batch.loss_rows);
  return {at::embedding(states, rows - ahead), batch.target.final_state.index_select(0, rows), pick(batch.targets),
          pick(batch.weights)};
}

at::Tensor draft_hits_of(const FeatureHead& head, const autograd::TrainBatch& batch, const at::Tensor& states,
                         int depth) {
  const NextTokens next = next_tokens(batch);
  const TextTokens text{tokens_behind(batch, next).to(at::kInt).contiguous(), next.token};
  at::Tensor hits = at::full_like(next.token, -1).unsqueeze(0).repeat({depth, 1});
  for (const autograd::RowGroup& group : batch.groups)
    for (std::int64_t i = 0; i < group.sequences; ++i)
      add_hits(head, batch, {group.first_row + i * group.length, group.length}, states, text, hits);
  return hits;
}

}  // namespace foretell::training::learners
