#include "experiments/certify/real_model.h"

#include <algorithm>
#include <map>

#include "experiments/certify/random_model.h"
#include "framework/kernels/worker_threads.h"

namespace foretell::certify {
namespace {

constexpr int kLayers = 4, kDraftLayers = 3, kOtherLayers = 2;
constexpr std::size_t kMostTexts = 1 << 14;  // texts

// Fewer layers are the first ones of more.
std::shared_ptr<const model::LanguageModel> with_layers(int layers, int context, RealLayers kind) {
  const char* const type = kind == RealLayers::Dense
                               ? R"("model_type": "llama", "intermediate_size": 48)"
                               : R"("model_type": "mixtral", "intermediate_size": 24, "num_local_experts": 4,
                                    "num_experts_per_tok": 2)";
  const std::string config = fmt::format(
      R"({{{}, "vocab_size": {}, "hidden_size": 32, "num_hidden_layers": {}, "num_attention_heads": 4,
           "num_key_value_heads": 2, "max_position_embeddings": {}, "rms_norm_eps": 1e-5, "dtype": "float32"}})",
      type, kRealVocab, layers, context);
  return random_model(config, 5);
}

class RealModel final : public KnownModel {
 public:
  RealModel(int context, RealLayers layers)
      : layers_(layers), model_(with_layers(kLayers, context, layers)), cache_(model_->make_cache(context)) {}

  const formats::ModelConfig& config() const override { return model_->config(); }
  std::unique_ptr<model::KvCache> make_cache(int capacity) const override { return model_->make_cache(capacity); }
  using model::LanguageModel::forward;
  model::ForwardResult forward(std::span<const model::ForwardItem> batch,
                               const model::ForwardOptions& options) const override {
    return model_->forward(batch, options);
  }
  at::Device device() const override { return model_->device(); }
  std::shared_ptr<const model::LanguageModel> quantised(const model::WeightRounding& to) const override {
    return model_->quantised(to);
  }
  const model::ModelParts* parts() const override { return model_->parts(); }

  std::vector<float> logits_after(TokenSpan text) const override;
  std::shared_ptr<const model::LanguageModel> draft(bool other) const override {
    auto& made = other ? other_ : draft_;
    if (!made) made = with_layers(other ? kOtherLayers : kDraftLayers, config().context, layers_);
    return made;
  }
  double rounding() const override { return 1e-5; }

 private:
  RealLayers layers_;
  std::shared_ptr<const model::LanguageModel> model_;
  mutable std::shared_ptr<const model::LanguageModel> draft_, other_;
  // Of the text that was asked for last: enumeration and greedy texts go on from it.
  mutable std::unique_ptr<model::KvCache> cache_;
  mutable Tokens held_;
  mutable std::map<Tokens, std::vector<float>> remembered_;
};

std::vector<float> RealModel::logits_after(TokenSpan text) const {
  const Tokens key(text.begin(), text.end());
  if (const auto found = remembered_.find(key); found != remembered_.end()) return found->second;
  const auto same = std::mismatch(held_.begin(), held_.end(), text.begin(), text.end()).first - held_.begin();
  const auto kept = std::min(static_cast<std::size_t>(same), text.size() - 1);
  cache_->truncate(static_cast<int>(kept));
  const at::Tensor logits =
      model_->forward({text.subspan(kept), model::ChainShape{}, cache_.get(), model::LogitRows::Last}).logits;
  held_ = key;
  std::vector<float> row(logits.const_data_ptr<float>(), logits.const_data_ptr<float>() + logits.numel());
  if (remembered_.size() > kMostTexts) remembered_.clear();
  return remembered_.emplace(key, std::move(row)).first->second;
}

}  // namespace

std::shared_ptr<const KnownModel> real_target(int context, RealLayers layers) {
  static std::map<std::pair<int, RealLayers>, std::shared_ptr<const KnownModel>> made;
  auto& target = made[{context, layers}];
  if (target) return target;
  target = std::make_shared<RealModel>(context, layers);
  kernels::use_threads(1);  // in a model of this size a second thread only waits, on a busy machine for long
  return target;
}

}  // namespace foretell::certify
