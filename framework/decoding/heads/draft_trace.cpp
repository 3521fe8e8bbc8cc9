#include "framework/decoding/heads/draft_trace.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <c10/core/InferenceMode.h>

#include <fmt/ranges.h>

#include <functional>
#include <map>

#include "framework/core/error.h"
#include "framework/model/heads/block_head.h"
#include "framework/model/heads/eagle3_head.h"
#include "framework/model/heads/eagle_head.h"
#include "framework/model/heads/mask_draft.h"
#include "framework/model/heads/prediction_head.h"
#include "framework/model/load_model.h"

namespace foretell::decoding::heads {
namespace {

using model::heads::BlockHead;
using model::heads::FeatureHead;

void check_length(std::size_t text, int rows, int context) {
  if (static_cast<int>(text) + rows > context)
    fail("a text of {} tokens and {} rows behind it are beyond the head's context of {}", text, rows, context);
}

class BlockTracer final : public DraftTracer {
 public:
  explicit BlockTracer(BlockHead head) : head_(std::move(head)) {}
  std::vector<int> places() const override { return head_.config().places; }
  DraftTrace trace(TokenSpan text, const at::Tensor& states, int) const override {
    const c10::InferenceMode inference;
    const model::heads::BlockConfig& config = head_.config();
    const auto before = static_cast<int>(text.size()) - 1;
    check_length(text.size() - 1, config.block_size, head_.context_length());
    const auto cache = head_.make_cache(before + config.block_size);
    const model::heads::ContextItem context{cache.get(), head_.context(states)};
    head_.store(std::span(&context, 1));
    DraftTrace out;
    for (int slot = 0; slot < config.block_size; ++slot) {
      out.ids.push_back(slot == 0 ? text.back() : config.mask);
      out.positions.push_back(before + slot);
    }
    const at::Tensor row = at::arange(config.block_size).unsqueeze(1) + before,
                     key = at::arange(before + config.block_size).unsqueeze(0);
    out.mask = at::ones({config.block_size, before + config.block_size}, at::kBool);
    if (config.causal.front() != 0) out.mask = out.mask.logical_and(key.le(row));
    if (config.layers.is_windowed(0)) out.mask = out.mask.logical_and((row - key).lt(config.layers.sliding_window));
    const model::heads::BlockItem item{cache.get(), text.back(), config.block_size};
    const at::Tensor slots = head_.forward(std::span(&item, 1));
    out.logits = head_.logits(slots.narrow(0, config.block_size - config.levels(), config.levels()));
    return out;
  }

 private:
  BlockHead head_;
};

class FeatureTracer final : public DraftTracer {
 public:
  explicit FeatureTracer(std::unique_ptr<const FeatureHead> head) : head_(std::move(head)) {}
  std::vector<int> places() const override {
    return head_->aux_states().empty() ? std::vector<int>{model::heads::kFinalState} : head_->aux_states();
  }
  DraftTrace trace(TokenSpan text, const at::Tensor& states, int) const override {
    const c10::InferenceMode inference;
    DraftTrace out;
    check_length(text.size() - 1, 0, head_->context());
    out.ids.assign(text.begin() + 1, text.end());
    const auto pairs = static_cast<int>(out.ids.size());
    for (int row = 0; row < pairs; ++row) out.positions.push_back(row);
    out.mask = at::ones({pairs, pairs}, at::kBool).tril();
    const auto cache = head_->make_cache(pairs);
    const model::ForwardItem item{head_->fuse(out.ids, head_->condition(states)), model::ChainShape{}, cache.get(),
                                  model::LogitRows::None};
    out.logits = head_->logits(head_->forward(std::span(&item, 1)));
    return out;
  }

 private:
  std::unique_ptr<const FeatureHead> head_;
};

class MaskTracer final : public DraftTracer {
 public:
  explicit MaskTracer(model::heads::MaskDraft draft) : draft_(std::move(draft)) {}
  std::vector<int> places() const override { return draft_.layers; }
  DraftTrace trace(TokenSpan text, const at::Tensor& states, int drafted) const override {
    const c10::InferenceMode inference;
    const std::int64_t masks = std::max(drafted, 1) - 1, known = static_cast<std::int64_t>(text.size());
    check_length(text.size(), static_cast<int>(masks), draft_.model->config().context);
    DraftTrace out;
    out.ids.assign(text.begin(), text.end());
    out.ids.insert(out.ids.end(), static_cast<std::size_t>(masks), draft_.mask);
    const auto rows = static_cast<int>(out.ids.size());
    for (int row = 0; row < rows; ++row) out.positions.push_back(row);
    out.mask = at::ones({rows, rows}, at::kBool).tril();
    const auto cache = draft_.model->make_cache(rows);
    model::ForwardItem item{TokenSpan(out.ids), model::ChainShape{}, cache.get(), model::LogitRows::All};
    if (draft_.projects) {
      at::Tensor x = draft_.embed(out.ids);
      const at::Tensor added = draft_.projected(states);
      x.narrow(0, 1, known - 1).add_(added);
      if (masks > 0) x.narrow(0, known, masks).add_(added[-1]);
      item.input = x;
    }
    out.logits = draft_.model->forward(item).logits.narrow(0, known - 1, masks + 1);
    return out;
  }

 private:
  model::heads::MaskDraft draft_;
};

using Target = std::shared_ptr<const model::LanguageModel>;
using Make = std::function<std::unique_ptr<DraftTracer>(const std::filesystem::path&, const Target&)>;

const std::map<std::string, Make>& makers() {
  const Make block = [](const auto& head, const Target& target) {
    return std::make_unique<BlockTracer>(BlockHead::load(head, target));
  };
  const Make mask = [](const auto& head, const Target& target) {
    const auto own =
        model::load_model(head, {.dtype = c10::typeMetaToScalarType(model::heads::target_options(*target).dtype())});
    return std::make_unique<MaskTracer>(model::heads::load_mask_draft(head, {own, own}, std::nullopt, target));
  };
  static const std::map<std::string, Make> all = {
      {"dflash", block},
      {"dflash2", block},
      {"dspark", block},
      {"pard", mask},
      {"pard2", mask},
      {"eagle",
       [](const auto& head, const Target& target) {
         return std::make_unique<FeatureTracer>(
             std::make_unique<model::heads::EagleHead>(model::heads::EagleHead::load(head, target)));
       }},
      {"eagle3",
       [](const auto& head, const Target& target) {
         return std::make_unique<FeatureTracer>(
             std::make_unique<model::heads::Eagle3Head>(model::heads::Eagle3Head::load(head, target)));
       }},
      {"mtp", [](const auto& head, const Target& target) {
         return std::make_unique<FeatureTracer>(
             std::make_unique<model::heads::PredictionHead>(model::heads::PredictionHead::load(head, target)));
       }}};
  return all;
}

}  // namespace

std::vector<std::string> traced_drafters() {
  std::vector<std::string> names;
  for (const auto& [name, make] : makers()) names.push_back(name);
  return names;
}

std::unique_ptr<DraftTracer> make_tracer(const std::string& drafter, const std::filesystem::path& head,
                                         const std::shared_ptr<const model::LanguageModel>& target) {
  const auto found = makers().find(drafter);
  if (found == makers().end())
    fail("drafter '{}' cannot be compared; known: {}", drafter, fmt::join(traced_drafters(), ", "));
  if (!target->parts()) fail("drafter '{}' needs a model as target", drafter);
  return found->second(head, target);
}

std::vector<at::Tensor> all_states(const model::LanguageModel& target, TokenSpan text) {
  const TokenSpan known = text.first(text.size() - 1);
  if (static_cast<int>(known.size()) > target.config().context)
    fail("a text of {} tokens is beyond the target's context of {}", text.size(), target.config().context);
  const auto cache = target.make_cache(static_cast<int>(known.size()));
  model::ForwardOptions options;
  options.return_final_state = true;
  for (int layer = 0; layer <= target.config().num_layers; ++layer) options.aux_states.push_back(layer);
  model::ForwardResult result =
      target.forward({known, model::ChainShape{}, cache.get(), model::LogitRows::None}, options);
  result.aux_states.push_back(result.final_state);
  return result.aux_states;
}

}  // namespace foretell::decoding::heads
