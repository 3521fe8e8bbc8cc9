// A decoder-only transformer with its weights: every family that Foretell loads is one configuration of it.
//
// Contract: as in language_model.h; const and safe to share after construction, runs under inference mode. A row of an
// Input tensor that enters layer 0 is the state that layer 0 reads: learned positions are already added to it (layer 0
// gives such rows). A token id outside the vocabulary and a position beyond the context are Errors. Layers that are
// skipped leave their cache rows as they were (zero or stale), lengths advance all the same.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "framework/model/decoder_layer.h"
#include "framework/model/exits.h"
#include "framework/model/language_model.h"
#include "framework/model/plain_forward.h"

namespace foretell::model {

struct TransformerWeights {
  at::Tensor embedding;  // [vocab, hidden]
  at::Tensor positions;  // [context, hidden]; learned positions only
  std::vector<LayerWeights> layers;
  Norm final_norm;
  Linear head;  // [vocab, hidden]; from the embedding where they are tied
};

class Transformer final : public LanguageModel, private ModelParts {
 public:
  // `int8_cache`: its caches hold keys and values as int8 (transformer_cache.h). On the CPU, in float32 and bfloat16.
  Transformer(formats::ModelConfig config, TransformerWeights weights, bool int8_cache = false);

  const formats::ModelConfig& config() const override { return config_; }
  std::unique_ptr<KvCache> make_cache(int capacity) const override;
  ForwardResult forward(std::span<const ForwardItem> batch, const ForwardOptions& options) const override;
  at::Device device() const override { return options_.device(); }
  std::shared_ptr<const LanguageModel> quantised(const WeightRounding& to) const override;
  const ModelParts* parts() const override { return this; }
  using LanguageModel::forward;

  // A layer to be run alone, by whoever plans its rows (batch_plan.h) and has a cache for them.
  const DecoderLayer& layer(int index) const { return layers_.at(static_cast<std::size_t>(index)); }

  // The same model with int8 caches, or without; everything else is shared.
  std::shared_ptr<const Transformer> with_cache(bool int8) const;
  bool has_int8_cache() const { return int8_cache_; }

  at::ScalarType dtype() const { return c10::typeMetaToScalarType(options_.dtype()); }
  // What one forward of one row reads of the weights, and of the cache for each row that is attended to.
  std::size_t weight_bytes_per_forward() const;
  std::size_t cache_bytes_per_row() const;

 private:
  void check_tokens(TokenSpan tokens) const;
  ForwardResult forward_plain(std::span<const ForwardItem> batch, const BatchPlan& plan, LayerRange layers) const;
  void find_plain() { plain_ = PlainForward::of(config_, embedding_, layers_, final_norm_, head_.matrix()); }
  at::Tensor enter(std::span<const ForwardItem> batch, const BatchPlan& plan, LayerRange layers) const;
  at::Tensor embed(TokenSpan tokens, std::span<const int> positions) const override;
  at::Tensor final_norm(const at::Tensor& state) const override;
  const OutputHead& head() const override { return head_; }
  void run_layers(at::Tensor& x, const BatchPlan& plan, const ForwardOptions& options, RowExits& exits,
                  ForwardResult& result) const;
  void run_layer(LayerRows& rows, int layer, const ForwardOptions& options, const RowExits& exits,
                 ForwardResult& result) const;
  void count_work(LayerRows& rows, int layer, const std::vector<int>& experts, const RowExits& exits,
                  ForwardResult& result) const;
  // The logits of some rows: those that are known since they left, and the head's.
  at::Tensor answers(const at::Tensor& normed, const std::vector<std::int64_t>& rows, const RowExits& exits) const;
  void leave(const at::Tensor& x, std::span<const ForwardItem> batch, const BatchPlan& plan,
             const ForwardOptions& options, const RowExits& exits, ForwardResult& result) const;

  formats::ModelConfig config_;
  at::Tensor embedding_;
  at::Tensor positions_;
  std::vector<DecoderLayer> layers_;
  Norm final_norm_;
  LinearHead head_;
  at::TensorOptions options_;
  std::vector<double> frequencies_;
  double magnitude_ = 1;
  bool int8_cache_ = false;
  std::optional<PlainForward> plain_;
};

}  // namespace foretell::model
