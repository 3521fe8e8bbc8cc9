#include "framework/decoding/aligned_vocabulary.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <limits>
#include <list>

#include "framework/core/error.h"
#include "framework/core/printable.h"
#include "framework/model/language_model.h"

namespace foretell::decoding {
namespace {

class AlignedVocabulary final : public model::LanguageModel {
 public:
  AlignedVocabulary(std::shared_ptr<const model::LanguageModel> model, int vocab, int shared)
      : model_(std::move(model)), config_(model_->config()), rows_(config_.vocab_size), shared_(shared) {
    FORETELL_CHECK(shared > 0 && shared <= std::min(vocab, rows_), "{} ids shared, of {} and {}", shared, vocab, rows_);
    config_.vocab_size = vocab;
    config_.padded_vocab.reset();
  }

  const formats::ModelConfig& config() const override { return config_; }
  std::unique_ptr<model::KvCache> make_cache(int capacity) const override { return model_->make_cache(capacity); }
  at::Device device() const override { return model_->device(); }
  std::shared_ptr<const model::LanguageModel> quantised(const model::WeightRounding& to) const override {
    auto quantised = model_->quantised(to);
    return quantised ? with_aligned_vocabulary(std::move(quantised), config_.vocab_size, shared_) : nullptr;
  }

  using model::LanguageModel::forward;
  model::ForwardResult forward(std::span<const model::ForwardItem> batch,
                               const model::ForwardOptions& options) const override {
    std::vector<model::ForwardItem> items(batch.begin(), batch.end());
    std::list<Tokens> replaced;
    const auto known = [&](TokenSpan tokens) {
      if (std::ranges::none_of(tokens, [&](Token token) { return token >= rows_; })) return tokens;
      Tokens& changed = replaced.emplace_back(tokens.begin(), tokens.end());
      std::ranges::replace_if(
          changed, [&](Token token) { return token >= rows_; }, 0);
      return TokenSpan(changed);
    };
    for (model::ForwardItem& item : items) {
      if (const auto* tokens = std::get_if<TokenSpan>(&item.input)) item.input = known(*tokens);
      item.tokens = known(item.tokens);
    }
    model::ForwardResult result = model_->forward(items, options);
    if (result.logits.defined()) result.logits = aligned(result.logits);
    return result;
  }

 private:
  at::Tensor aligned(const at::Tensor& logits) const {
    at::Tensor out =
        at::full({logits.size(0), config_.vocab_size}, -std::numeric_limits<float>::infinity(), logits.options());
    out.narrow(1, 0, shared_).copy_(logits.narrow(1, 0, shared_));
    return out;
  }

  std::shared_ptr<const model::LanguageModel> model_;
  formats::ModelConfig config_;
  int rows_;  // ids that the model has itself
  int shared_;
};

}  // namespace

std::shared_ptr<const model::LanguageModel> with_aligned_vocabulary(std::shared_ptr<const model::LanguageModel> model,
                                                                    int vocab, int shared) {
  return std::make_shared<AlignedVocabulary>(std::move(model), vocab, shared);
}

std::shared_ptr<const model::LanguageModel> in_target_ids(std::shared_ptr<const model::LanguageModel> draft, int vocab,
                                                          const std::optional<SharedIds>& shared,
                                                          const std::string& name) {
  constexpr const char* kHelp = "drafter 'universal' takes other tokenizers";
  const int own = draft->config().vocab_size;
  if (shared && !shared->agree())
    fail(
        "the draft model {} has another tokenizer than the target: {} of {} ids differ, first {}, which is '{}' to the "
        "target and '{}' to "
        "the draft; {}",
        name, shared->different, shared->count, shared->first, printable(excerpt(shared->in_target)),
        printable(excerpt(shared->in_draft)), kHelp);
  if (own == vocab) return draft;
  if (!shared)
    fail(
        "the draft model {} has a vocabulary of {} tokens, the target has {}: that is padding only where the folders "
        "of both hold one and "
        "the same tokenizer, and these do not ({})",
        name, own, vocab, kHelp);
  return with_aligned_vocabulary(std::move(draft), vocab, std::min({shared->count, vocab, own}));
}

}  // namespace foretell::decoding
