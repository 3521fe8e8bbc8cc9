#include "framework/decoding/heads/block_source.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "framework/api/policy.h"
#include "framework/core/error.h"

namespace foretell::decoding::heads {
namespace {

constexpr std::int64_t kContextChunk = 512;

// The tokens before a node's children, the root first.
Tokens before_children(const bases::LevelRequest& request, NodeId node) {
  Tokens out{request.context.committed.back()};
  for (const Token token : request.tree.path(node)) out.push_back(token);
  return out;
}

}  // namespace

void BlockSource::begin(SlotId slot, const PromptView& prompt, int) {
  const auto reach = static_cast<std::int64_t>(prompt.tokens.size()) + prompt.request.max_new_tokens;
  const int capacity =
      static_cast<int>(std::min<std::int64_t>(reach, head_->context_length())) + head_->config().block_size + 1;
  sequences_.erase(slot);
  sequences_.emplace(slot, Sequence{head_->make_cache(capacity)});
}

void BlockSource::add(Sequence& sequence, const at::Tensor& states) const {
  if (states.defined() && states.size(0) > 0) sequence.pending.push_back(head_->context(states));
}

void BlockSource::observe_prompt(SlotId slot, const PromptChunk& chunk) {
  if (!chunk.tokens.empty()) add(sequences_.at(slot), reader_.prompt_rows(chunk));
}

void BlockSource::observe(std::span<const RoundView> rounds) {
  for (const RoundView& round : rounds) add(sequences_.at(round.slot), reader_.committed_rows(round));
}

// Brings the cache into step. False where there is no text before the root, or no room for a block.
bool BlockSource::start(Sequence& sequence, const DraftContext& context) const {
  const auto before = static_cast<int>(context.committed.size()) - 1;
  sequence.slots = std::min(head_->config().block_size, head_->context_length() - before);
  if (before == 0 || before > head_->context_length() || sequence.slots < 2) {
    sequence.slots = 0;
    return false;
  }
  if (!sequence.pending.empty()) {
    const at::Tensor rows = at::cat(sequence.pending);
    for (std::int64_t first = 0; first < rows.size(0); first += kContextChunk) {
      const model::heads::ContextItem item{sequence.cache.get(),
                                           rows.narrow(0, first, std::min(kContextChunk, rows.size(0) - first))};
      head_->store(std::span(&item, 1));
    }
    sequence.pending.clear();
  }
  FORETELL_CHECK(sequence.cache->length() == before, "{} rows before a root at {}", sequence.cache->length(), before);
  return true;
}

void BlockSource::draft_blocks(std::span<const bases::LevelRequest> batch) {
  std::vector<model::heads::BlockItem> items;
  std::int64_t slots = 0;
  for (const bases::LevelRequest& request : batch) {
    Sequence& sequence = sequences_.at(request.context.slot);
    if (!start(sequence, request.context)) continue;
    sequence.first = slots;
    slots += sequence.slots;
    items.push_back({sequence.cache.get(), request.context.committed.back(), sequence.slots});
  }
  if (items.empty()) return;
  states_ = head_->forward(items);
  base_ = head_->logits(states_);
  logits_ = HostLogits(base_);
}

std::int64_t BlockSource::row_of(const Sequence& sequence, int depth) const {
  const int slot = depth - (head_->config().from_anchor ? 1 : 0);
  return slot < sequence.slots ? sequence.first + slot : bases::LevelRows::kNone;
}

bases::LevelRows BlockSource::level(std::span<const bases::LevelRequest> batch, int depth) {
  const c10::InferenceMode inference;
  if (depth == 1) draft_blocks(batch);
  bases::LevelRows out;
  std::vector<at::Tensor> rows;
  for (const bases::LevelRequest& request : batch) {
    const Sequence& sequence = sequences_.at(request.context.slot);
    const std::int64_t row = row_of(sequence, depth);
    for (const NodeId node : request.frontier) {
      const bool speaks = row != bases::LevelRows::kNone && confident(request, sequence, node, depth);
      if (!speaks || !head_->conditional()) {
        out.row_of.push_back(speaks ? static_cast<int>(row) : bases::LevelRows::kNone);
        continue;
      }
      out.row_of.push_back(static_cast<int>(rows.size()));
      rows.push_back(corrected(request, sequence, node, depth));
    }
  }
  if (!head_->conditional())
    out.logits = logits_;
  else if (!rows.empty())
    out.logits = HostLogits(at::stack(rows));
  return out;
}

at::Tensor BlockSource::corrected(const bases::LevelRequest& request, const Sequence& sequence, NodeId node,
                                  int depth) const {
  const std::int64_t row = row_of(sequence, depth), first = row - depth + 1;
  return head_->corrected(base_[row], before_children(request, node), states_.narrow(0, first, depth));
}

bool BlockSource::confident(const bases::LevelRequest& request, const Sequence& sequence, NodeId node,
                            int depth) const {
  if (least_confidence_ <= 0 || !head_->config().confidence) return true;
  const Tokens before = before_children(request, node);
  const std::int64_t first = row_of(sequence, depth) - depth + 1;
  double product = 1;
  for (int level = 1; level <= depth; ++level)
    product *=
        head_->confidence(TokenSpan(before).first(static_cast<std::size_t>(level)), states_.narrow(0, first, level));
  return product >= least_confidence_;
}

}  // namespace foretell::decoding::heads
