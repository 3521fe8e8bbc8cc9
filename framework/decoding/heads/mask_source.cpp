#include "framework/decoding/heads/mask_source.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "framework/core/error.h"

namespace foretell::decoding::heads {
namespace {

constexpr std::size_t kMaskPrefillChunk = 512;
constexpr std::size_t kAnswered = 32;  // rows of text in the forward of the masks, which computes all logits

}  // namespace

void MaskSource::begin(SlotId slot, const PromptView& prompt, int most_nodes) {
  const int context = draft_.model->config().context;
  const auto reach = static_cast<std::int64_t>(prompt.tokens.size()) + prompt.request.max_new_tokens;
  const int capacity = static_cast<int>(std::min<std::int64_t>(reach, context)) + most_nodes + 1;
  sequences_.erase(slot);
  Sequence& sequence = sequences_.emplace(slot, Sequence{draft_.model->make_cache(capacity)}).first->second;
  if (draft_.projects) {
    const at::Tensor some = draft_.embed(prompt.tokens.first(1));
    sequence.added = at::zeros(some.sizes(), some.options());  // the first row has no state before it
  }
}

// Row t reads the state of t - 1, so `added` is always one row ahead of what it stands for: the last of them is the
// masks' too.
void MaskSource::add_states(Sequence& sequence, const at::Tensor& states) const {
  if (states.defined() && states.size(0) > 0) sequence.added = at::cat({sequence.added, draft_.projected(states)});
}

void MaskSource::observe_prompt(SlotId slot, const PromptChunk& chunk) {
  const c10::InferenceMode inference;
  if (draft_.projects && !chunk.tokens.empty()) add_states(sequences_.at(slot), reader_.prompt_rows(chunk));
}

void MaskSource::observe(std::span<const RoundView> rounds) {
  const c10::InferenceMode inference;
  if (!draft_.projects) return;
  for (const RoundView& round : rounds) add_states(sequences_.at(round.slot), reader_.committed_rows(round));
}

bases::LevelRows MaskSource::level(std::span<const bases::LevelRequest> batch, int depth) {
  const c10::InferenceMode inference;
  if (depth == 1) {
    std::vector<model::ForwardItem> items;
    std::vector<Tokens> texts;
    texts.reserve(batch.size());
    int rows = 0;
    for (const bases::LevelRequest& request : batch) {
      Sequence& sequence = sequences_.at(request.context.slot);
      sequence.levels = 0;
      if (!start(sequence, request.context, items, texts)) continue;
      rows += static_cast<int>(texts.back().size());
      sequence.first = rows - sequence.levels;
    }
    if (!items.empty()) logits_ = HostLogits(draft_.model->forward(items, {}).logits);
  }
  bases::LevelRows out;
  for (const bases::LevelRequest& request : batch) {
    const Sequence& sequence = sequences_.at(request.context.slot);
    const int row = depth <= sequence.levels ? sequence.first + depth - 1 : bases::LevelRows::kNone;
    out.row_of.insert(out.row_of.end(), request.frontier.size(), row);
  }
  out.logits = logits_;
  return out;
}

// Brings the cache into step with the committed text; what is missing and the masks are rows of `items`. False where
// the text is longer than the model's context.
bool MaskSource::start(Sequence& sequence, const DraftContext& context, std::vector<model::ForwardItem>& items,
                       std::vector<Tokens>& texts) {
  const TokenSpan committed = context.committed;
  const auto length = static_cast<int>(committed.size()), most = draft_.model->config().context;
  const int masks =
      std::min({std::min(context.budget.depth, kDeepest) - 1, most - length, sequence.cache->capacity() - length});
  if (masks < 0) return false;
  const auto same = std::ranges::mismatch(sequence.held, committed).in1 - sequence.held.begin();
  const auto kept = std::min<std::size_t>(static_cast<std::size_t>(same), committed.size() - 1);
  FORETELL_CHECK(!draft_.projects || kept == sequence.held.size(), "{} of {} rows of text are left", kept,
                 sequence.held.size());
  sequence.held.resize(kept);
  sequence.cache->truncate(static_cast<int>(kept));
  prefill(sequence, committed.subspan(kept));
  Tokens& rows =
      texts.emplace_back(committed.begin() + static_cast<std::ptrdiff_t>(sequence.held.size()), committed.end());
  const auto missing = rows.size();
  rows.insert(rows.end(), static_cast<std::size_t>(masks), draft_.mask);
  items.push_back(item(sequence, rows, masks, model::LogitRows::All));
  sequence.held.insert(sequence.held.end(), rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(missing));
  sequence.levels = masks + 1;
  return true;
}

// A long text goes through in parts; the last tokens are left for the forward of the masks.
void MaskSource::prefill(Sequence& sequence, TokenSpan missing) {
  while (missing.size() > kAnswered) {
    const TokenSpan part = missing.first(std::min(missing.size() - kAnswered, kMaskPrefillChunk));
    draft_.model->forward(item(sequence, part, 0, model::LogitRows::None));
    sequence.held.insert(sequence.held.end(), part.begin(), part.end());
    missing = missing.subspan(part.size());
  }
}

// `masks` of the tokens, the last ones, are masks.
model::ForwardItem MaskSource::item(Sequence& sequence, TokenSpan tokens, int masks, model::LogitRows logits) const {
  if (!draft_.projects) return {tokens, model::ChainShape{}, sequence.cache.get(), logits};
  const auto text = static_cast<std::int64_t>(tokens.size()) - masks;
  FORETELL_CHECK(sequence.added.size(0) >= text, "{} states for {} rows of text", sequence.added.size(0), text);
  at::Tensor added = sequence.added.narrow(0, 0, text);
  sequence.added = sequence.added.narrow(0, text, sequence.added.size(0) - text);
  if (masks > 0) added = at::cat({added, added.narrow(0, text - 1, 1).expand({masks, added.size(1)})});
  return {draft_.embed(tokens) + added, model::ChainShape{}, sequence.cache.get(), logits};
}

}  // namespace foretell::decoding::heads
