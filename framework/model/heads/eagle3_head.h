// The draft head of EAGLE-3 (Li et al. 2025, arXiv 2503.01840): a decoder layer on states from several depths of the
// target, which goes on from its own output and speaks a vocabulary of its own.
//
// Contract: as FeatureHead. What is read of the target are the states behind the layers that the config names, side by
// side; condition() makes one row of them (fc), which a draft's own rows do not go through. The first layer attends
// with [norm(E(token)); norm(row)], twice as wide, and adds to the row itself, or to the normed one; further layers are
// Llama's. logits() are of the norm of what forward() says; forward() says the normed state itself where the config
// asks for that (norm_output). Files are read in the published layouts: config.json (eagle3_config.h) and fc.weight,
// midlayer.* or layers.0.* with hidden_norm and input_layernorm, layers.{i}.* for i > 0, norm.weight, lm_head.weight,
// d2t and t2d, embed_tokens.weight, which may be left out where the head is as wide as the target: the target's then;
// input_norm.weight or fc_norm.{i}.weight where the config asks for them. How many states are read follows from
// fc.weight. A tensor that is missing, unknown or of another shape is an Error of one line that names it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "framework/formats/heads/eagle3_config.h"
#include "framework/model/heads/feature_head.h"
#include "framework/model/heads/head_tensors.h"

namespace foretell::model::heads {

class Eagle3Head final : public FeatureHead {
 public:
  static std::filesystem::path file_of(const std::filesystem::path& folder);
  static Eagle3Head load(const std::filesystem::path& folder, std::shared_ptr<const LanguageModel> target);
  // Untrained, one layer, the target's vocabulary.
  static Eagle3Head random(std::uint64_t seed, std::shared_ptr<const LanguageModel> target);
  // Of tensors under their published names; they are copied. `ids`: the target's by id of the head; empty: the same.
  static Eagle3Head made_of(const formats::heads::Eagle3Config& config, const HeadTensors& tensors,
                            std::vector<Token> ids, const std::string& name,
                            std::shared_ptr<const LanguageModel> target);

  // The shape of a new head for a target: one layer, as wide, three states, all of its vocabulary.
  static formats::heads::Eagle3Config config_for(const formats::ModelConfig& target);
  // `stem`: of the first layer.
  static std::vector<HeadTensor> tensors_of(const formats::heads::Eagle3Config& config, int states,
                                            const std::string& stem);

  std::vector<int> aux_states() const override { return config_.states; }
  at::Tensor states_of(const HiddenStates& hidden) const override;
  at::Tensor condition(const at::Tensor& states) const override;
  std::unique_ptr<KvCache> make_cache(int capacity) const override;
  int context() const override { return config_.layers.context; }
  at::Tensor fuse(TokenSpan tokens, const at::Tensor& features) const override;
  at::Tensor forward(std::span<const ForwardItem> batch) const override;
  at::Tensor logits(const at::Tensor& features) const override;
  std::span<const Token> target_ids() const override { return ids_; }

 private:
  Eagle3Head() = default;

  formats::heads::Eagle3Config config_;
  std::shared_ptr<const LanguageModel> target_;
  at::TensorOptions options_;
  std::vector<double> frequencies_;
  double magnitude_ = 1;
  at::Tensor embedding_;  // undefined: the target's
  std::vector<Norm> fc_norms_;
  Norm fc_norm_, token_norm_, state_norm_, output_norm_;
  Linear fc_;
  std::vector<DecoderLayer> layers_;
  LinearHead output_;
  std::vector<Token> ids_;
};

}  // namespace foretell::model::heads
