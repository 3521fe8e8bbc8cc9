// The layer behind a model's last one that predicts one token further: multi-token prediction (DeepSeek-AI 2024, arXiv
// 2412.19437, section 2.2), used again and again for a draft of several tokens.
//
// Contract: as in feature_head.h: row t is W [norm_e(E(x_{t+1})); norm_h(h_t)] through a decoder layer like the model's
// own, h_t the target's final normed state; what the layer says goes into the next step as it is, and through
// shared_head.norm and the head it becomes logits. Files are the model's own checkpoint: model.layers.{L}.* with L the
// number of its layers, which hold enorm, hnorm, eh_proj, shared_head.norm and the layer, with embed_tokens and
// shared_head.head where they are stored again; the target's are used else. Whatever family the layer is of (latent
// attention, experts), it is loaded as that family's layers are. Only the first of several such layers is used. What is
// missing, unknown or misshapen is an Error of one line that names it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "framework/model/heads/feature_head.h"
#include "framework/model/heads/head_tensors.h"
#include "framework/model/transformer.h"

namespace foretell::model::heads {

class PredictionHead final : public FeatureHead {
 public:
  static std::filesystem::path file_of(const std::filesystem::path& folder);
  static PredictionHead load(const std::filesystem::path& folder, std::shared_ptr<const LanguageModel> target);
  // Of a dense layer's tensors under their published names, without the stem; the target's embedding and head.
  static PredictionHead made_of(const formats::ModelConfig& layer, const HeadTensors& tensors, const std::string& name,
                                std::shared_ptr<const LanguageModel> target);
  // Untrained: the shape of layer_config_for().
  static PredictionHead random(std::uint64_t seed, std::shared_ptr<const LanguageModel> target);

  static std::vector<HeadTensor> tensors_of(const formats::ModelConfig& layer);

  at::Tensor states_of(const HiddenStates& hidden) const override { return hidden.final_state; }
  std::unique_ptr<KvCache> make_cache(int capacity) const override { return layer_->make_cache(capacity); }
  int context() const override { return layer_->config().context; }
  at::Tensor fuse(TokenSpan tokens, const at::Tensor& features) const override;
  at::Tensor forward(std::span<const ForwardItem> batch) const override;
  at::Tensor logits(const at::Tensor& features) const override;

 private:
  PredictionHead() = default;

  std::shared_ptr<const LanguageModel> target_;
  Norm token_norm_, state_norm_;
  Linear fuse_;
  std::shared_ptr<const Transformer> layer_;  // its final norm is shared_head.norm
  bool own_embedding_ = false, own_head_ = false;
};

}  // namespace foretell::model::heads
