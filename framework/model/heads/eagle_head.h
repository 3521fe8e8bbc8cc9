// The draft head of EAGLE (Li et al. 2024, arXiv 2401.15077): a decoder layer that predicts the target's next state
// from its states and the tokens that were chosen behind them.
//
// Contract: row t reads the state f_t of position t (final and normed, what the target's head reads) and the token of
// position t + 1, and says what f_{t+1} will be; the target's own head makes it a distribution of the token at t + 2.
// A row is fuse()d from the two, [E(token); f] W^T + b, then goes through the layers with keys and values of its own;
// positions count from 0 with the first pair. The first layer has no norm before its attention, and there is none
// behind the last. const and safe to share. Files are read in the published layout: a Llama config.json and
// fc.weight, fc.bias, layers.{i}.self_attn.{q,k,v,o}_proj.weight, layers.{i}.mlp.{gate,up,down}_proj.weight,
// layers.{i}.post_attention_layernorm.weight, layers.{i}.input_layernorm.weight for i > 0, and embed_tokens.weight,
// which may be left out: the target's then. A tensor that is missing, unknown or of another shape is an Error of one
// line that names it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "framework/model/heads/feature_head.h"
#include "framework/model/heads/head_tensors.h"
#include "framework/model/transformer.h"

namespace foretell::model::heads {

class EagleHead final : public FeatureHead {
 public:
  // The folder's file that a study depends on: model.safetensors, or the folder where an index names the files. An
  // Error where there is nothing but a pickle.
  static std::filesystem::path file_of(const std::filesystem::path& folder);
  static EagleHead load(const std::filesystem::path& folder, std::shared_ptr<const LanguageModel> target);
  // Untrained, one layer.
  static EagleHead random(std::uint64_t seed, std::shared_ptr<const LanguageModel> target);
  // Of tensors under their published names; they are copied. `name` is what an Error calls them.
  static EagleHead made_of(const formats::ModelConfig& config, const HeadTensors& tensors, const std::string& name,
                           std::shared_ptr<const LanguageModel> target);

  static std::vector<HeadTensor> tensors_of(const formats::ModelConfig& config);

  at::Tensor states_of(const HiddenStates& hidden) const override { return hidden.final_state; }
  std::unique_ptr<KvCache> make_cache(int capacity) const override { return layers_->make_cache(capacity); }
  int context() const override { return layers_->config().context; }
  at::Tensor fuse(TokenSpan tokens, const at::Tensor& features) const override;
  at::Tensor forward(std::span<const ForwardItem> batch) const override;
  at::Tensor logits(const at::Tensor& features) const override;

 private:
  EagleHead() = default;

  std::shared_ptr<const LanguageModel> target_;
  Linear fc_;
  at::Tensor embedding_;  // undefined: the target's
  std::shared_ptr<const Transformer> layers_;
};

}  // namespace foretell::model::heads
