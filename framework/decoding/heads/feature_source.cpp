#include "framework/decoding/heads/feature_source.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "framework/api/policy.h"
#include "framework/core/error.h"
#include "framework/decoding/heads/committed_states.h"
#include "framework/model/hidden.h"

namespace foretell::decoding::heads {
namespace {

constexpr std::int64_t kPrefillChunk = 512;

}  // namespace

NodeId FeatureSource::Sequence::row_of(NodeId node) const {
  if (node == kAnchor) return kAnchor;
  return static_cast<NodeId>(std::find(forwarded.begin(), forwarded.end(), node) - forwarded.begin()) + 1;
}

void FeatureSource::begin(SlotId slot, const PromptView& prompt, int most_nodes) {
  const auto reach = static_cast<std::int64_t>(prompt.tokens.size()) + prompt.request.max_new_tokens;
  const int capacity = static_cast<int>(std::min<std::int64_t>(reach, head_->context())) + most_nodes + 1;
  sequences_.erase(slot);
  sequences_.emplace(slot, Sequence{head_->make_cache(capacity), most_nodes});
}

// States are copied: they are rows of what the whole batch has computed, which would live as long as one of them.
void FeatureSource::observe_prompt(SlotId slot, const PromptChunk& chunk) {
  FORETELL_CHECK(chunk.hidden, "a chunk of {} tokens without the states that were asked for", chunk.tokens.size());
  if (!chunk.tokens.empty()) sequences_.at(slot).pending.push_back(head_->states_of(*chunk.hidden).clone());
}

void FeatureSource::observe(std::span<const RoundView> rounds) {
  for (const RoundView& round : rounds) {
    const model::HiddenStates* hidden = round.scores.hidden();
    FORETELL_CHECK(hidden, "scores of {} nodes without the states that were asked for", round.draft.size());
    const std::vector<std::int64_t> nodes = committed_nodes(round);
    if (nodes.empty()) continue;
    const at::Tensor states = head_->states_of(*hidden);
    sequences_.at(round.slot).pending.push_back(states.index_select(0, at::tensor(nodes).to(states.device())));
  }
}

bases::LevelRows FeatureSource::level(std::span<const bases::LevelRequest> batch, int depth) {
  const c10::InferenceMode inference;
  bases::LevelRows out;
  Rows rows;
  int next = 0;
  for (const bases::LevelRequest& request : batch) {
    Sequence& sequence = sequences_.at(request.context.slot);
    const bool goes_on = depth == 1 ? start(sequence, request.context, rows) : grow(sequence, request, depth, rows);
    for (std::size_t i = 0; i < request.frontier.size(); ++i)
      out.row_of.push_back(goes_on ? next++ : bases::LevelRows::kNone);
  }
  if (rows.of.empty()) return out;
  at::Tensor features = forward(rows, depth);
  int row = 0;
  for (std::size_t i = 0; i < rows.of.size(); ++i) {
    Sequence& sequence = *rows.of[i];
    row += rows.counts[i];
    if (depth == 1) {
      sequence.features.assign(1, features[row - 1]);
    } else {
      for (int k = row - rows.counts[i]; k < row; ++k) sequence.features.push_back(features[k]);
    }
  }
  if (static_cast<int>(rows.with_logits.size()) < rows.size())
    features = features.index_select(0, at::tensor(rows.with_logits, at::kLong).to(features.device()));
  out.logits = HostLogits(head_->logits(features));
  if (batch.front().context.policy.wants_hidden_states()) out.states = features.to(at::kCPU, at::kFloat).contiguous();
  return out;
}

// Drops what the last draft has computed and brings the cache into step with the committed text; its last pair is
// answered. False where there is no pair, or no room for a draft.
bool FeatureSource::start(Sequence& sequence, const DraftContext& context, Rows& rows) {
  sequence.forwarded.clear();
  sequence.features.clear();
  sequence.cache->truncate(sequence.committed);
  const TokenSpan committed = context.committed;
  const auto pairs = static_cast<int>(committed.size()) - 1;
  if (pairs == 0 || pairs > head_->context() || pairs + sequence.most_nodes > sequence.cache->capacity()) return false;
  prefill(sequence, committed);
  const at::Tensor states = sequence.pending.size() == 1 ? sequence.pending.front() : at::cat(sequence.pending);
  const int first = sequence.committed, count = static_cast<int>(states.size(0));
  FORETELL_CHECK(count > 0 && first + count == pairs, "{} states and {} of them new, behind a text of {}",
                 first + count, count, committed.size());
  for (int row = 0; row < count; ++row) rows.tokens.push_back(committed[static_cast<std::size_t>(first + row) + 1]);
  rows.features.push_back(states);
  rows.of.push_back(&sequence);
  rows.counts.push_back(count);
  rows.with_logits.push_back(rows.size() - 1);
  sequence.committed = pairs;
  sequence.pending.clear();
  return true;
}

// A long text goes through in parts; the last one is left for the level's forward.
void FeatureSource::prefill(Sequence& sequence, TokenSpan committed) const {
  std::int64_t states = 0;
  for (const at::Tensor& part : sequence.pending) states += part.size(0);
  if (states <= kPrefillChunk) return;
  at::Tensor all = at::cat(sequence.pending);
  while (all.size(0) > kPrefillChunk) {
    const TokenSpan tokens =
        committed.subspan(static_cast<std::size_t>(sequence.committed) + 1, static_cast<std::size_t>(kPrefillChunk));
    const at::Tensor features = head_->condition(all.narrow(0, 0, kPrefillChunk));
    const model::ForwardItem item{head_->fuse(tokens, features), model::ChainShape{}, sequence.cache.get(),
                                  model::LogitRows::None};
    head_->forward(std::span(&item, 1));
    sequence.committed += static_cast<int>(kPrefillChunk);
    all = all.narrow(0, kPrefillChunk, all.size(0) - kPrefillChunk);
  }
  sequence.pending.assign(1, all);
}

// Rows for the frontier, each on its parent's feature. False where its position is beyond the head's context.
bool FeatureSource::grow(Sequence& sequence, const bases::LevelRequest& request, int depth, Rows& rows) const {
  if (sequence.features.empty() || sequence.committed + depth - 1 > head_->context()) return false;
  for (const NodeId node : request.frontier) {
    const DraftNode& drafted = request.tree.node(node);
    rows.tokens.push_back(drafted.token);
    rows.features.push_back(sequence.features[static_cast<std::size_t>(sequence.row_of(drafted.parent))].unsqueeze(0));
    rows.with_logits.push_back(rows.size() - 1);
  }
  sequence.parents.assign(1, kAnchor);
  for (const NodeId node : sequence.forwarded)
    sequence.parents.push_back(sequence.row_of(request.tree.node(node).parent));
  for (const NodeId node : request.frontier)
    sequence.parents.push_back(sequence.row_of(request.tree.node(node).parent));
  sequence.forwarded.insert(sequence.forwarded.end(), request.frontier.begin(), request.frontier.end());
  rows.of.push_back(&sequence);
  rows.counts.push_back(static_cast<int>(request.frontier.size()));
  return true;
}

at::Tensor FeatureSource::forward(const Rows& rows, int depth) const {
  const at::Tensor states = at::cat(rows.features);
  const at::Tensor fused = head_->fuse(rows.tokens, depth == 1 ? head_->condition(states) : states);
  std::vector<model::ForwardItem> items;
  int row = 0;
  for (std::size_t i = 0; i < rows.of.size(); ++i) {
    Sequence& sequence = *rows.of[i];
    model::ForwardItem item{fused.narrow(0, row, rows.counts[i]), model::ChainShape{}, sequence.cache.get(),
                            model::LogitRows::None};
    if (depth > 1)
      item.shape = model::TreeShape{sequence.parents, static_cast<int>(sequence.parents.size()) - rows.counts[i]};
    items.push_back(std::move(item));
    row += rows.counts[i];
  }
  return head_->forward(items);
}

}  // namespace foretell::decoding::heads
