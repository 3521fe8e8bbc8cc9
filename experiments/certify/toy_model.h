// A language model whose distribution is a table: what follows depends on the last three tokens that are seen, by hash.
// It has the real cache semantics of several layers, so a wrong truncate or keep changes what comes out, and its exact
// distribution is known without any forward.
#pragma once

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "experiments/certify/known_model.h"

namespace foretell::certify {

struct ToyOptions {
  int vocab = 11;
  std::uint64_t seed = 7;
  int layers = 4;
  int context = 4096;
  // A draft: this share of its logits is `like`'s, the rest its own.
  double blend = 0.0;
  std::shared_ptr<const class ToyModel> like = nullptr;
  float sharpness = 3.0F;
};

class ToyModel : public KnownModel {
 public:
  explicit ToyModel(const ToyOptions& options);

  const formats::ModelConfig& config() const override { return config_; }
  std::unique_ptr<model::KvCache> make_cache(int capacity) const override;
  using model::LanguageModel::forward;
  model::ForwardResult forward(std::span<const model::ForwardItem> batch,
                               const model::ForwardOptions& options) const override;
  at::Device device() const override { return at::kCPU; }
  // Most of its logits are this model's.
  std::shared_ptr<const model::LanguageModel> quantised(const model::WeightRounding& to) const override;

  std::vector<float> logits_after(TokenSpan text) const override;  // straight from the definition
  std::shared_ptr<const model::LanguageModel> draft(bool other) const override;
  double rounding() const override { return 1e-12; }
  long forwards() const { return forwards_; }
  long rows() const { return rows_; }
  long layer_rows() const { return layer_rows_; }  // how often a layer has computed a row

 private:
  // Remembered: enumeration asks for the same few rows again and again. Valid until the next call.
  const std::vector<float>& logits(std::uint64_t hash, double noise) const;
  std::vector<float> make_logits(std::uint64_t hash, double noise) const;
  struct Rows;
  Rows rows_of(const model::ForwardItem& item, model::LayerRange range) const;
  Rows run_layers(const model::ForwardItem& item, const model::ForwardOptions& options) const;

  ToyOptions options_;
  formats::ModelConfig config_;
  mutable long forwards_ = 0, rows_ = 0, layer_rows_ = 0;
  mutable std::map<std::pair<std::uint64_t, std::uint64_t>, std::vector<float>> remembered_;  // by hash and noise
};

}  // namespace foretell::certify
