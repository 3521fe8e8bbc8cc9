#include "framework/decoding/heads/path_source.h"

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

constexpr std::int64_t kPrefixChunk = 512;

}  // namespace

void PathSource::begin(SlotId slot, const PromptView& prompt, int) {
  sequences_.erase(slot);
  Sequence& sequence = sequences_[slot];
  if (head_->prefix() == nullptr) return;
  const auto reach = static_cast<std::int64_t>(prompt.tokens.size()) + prompt.request.max_new_tokens;
  const int context = head_->prefix()->config().context;
  sequence.cache = head_->prefix()->make_cache(static_cast<int>(std::min<std::int64_t>(reach, context)));
}

// States are copied: they are rows of what the whole batch has computed, which would live as long as one of them.
void PathSource::add_states(Sequence& sequence, const at::Tensor& states) const {
  if (head_->prefix() != nullptr)
    sequence.pending.push_back(states.clone());
  else
    sequence.state = states[-1].clone();
}

void PathSource::observe_prompt(SlotId slot, const PromptChunk& chunk) {
  FORETELL_CHECK(chunk.hidden, "a chunk of {} tokens without the states that were asked for", chunk.tokens.size());
  if (!chunk.tokens.empty()) add_states(sequences_.at(slot), chunk.hidden->final_state);
}

void PathSource::observe(std::span<const RoundView> rounds) {
  for (const RoundView& round : rounds) {
    const model::HiddenStates* hidden = round.scores.hidden();
    FORETELL_CHECK(hidden, "scores of {} nodes without the states that were asked for", round.draft.size());
    const std::vector<std::int64_t> nodes = committed_nodes(round);
    if (nodes.empty()) continue;
    const at::Tensor& states = hidden->final_state;
    add_states(sequences_.at(round.slot), states.index_select(0, at::tensor(nodes).to(states.device())));
  }
}

// Brings the head's own layers into step with the committed text; their last row is what a draft goes on from. Beyond
// their context there is none any more.
void PathSource::read_pending(std::span<const bases::LevelRequest> batch) {
  std::vector<Sequence*> waiting;
  for (const bases::LevelRequest& request : batch) {
    Sequence& sequence = sequences_.at(request.context.slot);
    if (sequence.pending.empty()) continue;
    const at::Tensor all = sequence.pending.size() == 1 ? sequence.pending.front() : at::cat(sequence.pending);
    sequence.pending.assign(1, all);
    if (sequence.cache->length() + all.size(0) > sequence.cache->capacity()) {
      sequence.state = at::Tensor();
      continue;
    }
    waiting.push_back(&sequence);
  }
  while (!waiting.empty()) {
    forward_pending(waiting);
    std::erase_if(waiting, [](const Sequence* sequence) { return sequence->pending.empty(); });
  }
}

// The next rows of each, of a long text a part.
void PathSource::forward_pending(std::span<Sequence* const> sequences) const {
  std::vector<model::ForwardItem> items;
  for (Sequence* sequence : sequences) {
    const at::Tensor& all = sequence->pending.front();
    items.push_back({all.narrow(0, 0, std::min(all.size(0), kPrefixChunk)), model::ChainShape{}, sequence->cache.get(),
                     model::LogitRows::None});
  }
  model::ForwardOptions options;
  options.return_final_state = true;
  const at::Tensor read = head_->prefix()->forward(items, options).final_state;
  std::int64_t row = 0;
  for (Sequence* sequence : sequences) {
    const at::Tensor all = sequence->pending.front();
    const std::int64_t count = std::min(all.size(0), kPrefixChunk);
    row += count;
    sequence->state = read[row - 1].clone();
    sequence->pending.clear();
    if (count < all.size(0)) sequence->pending.push_back(all.narrow(0, count, all.size(0) - count));
  }
}

bases::LevelRows PathSource::level(std::span<const bases::LevelRequest> batch, int depth) {
  const c10::InferenceMode inference;
  if (depth == 1) read_pending(batch);
  bases::LevelRows out;
  std::vector<at::Tensor> before;
  Tokens tokens;
  for (const bases::LevelRequest& request : batch) {
    Sequence& sequence = sequences_.at(request.context.slot);
    if (depth == 1) sequence.paths.clear();
    for (const NodeId node : request.frontier) {
      const bool goes_on = sequence.state.defined();
      out.row_of.push_back(goes_on ? static_cast<int>(tokens.size()) : bases::LevelRows::kNone);
      if (!goes_on) continue;
      const bool first = node == kAnchor;
      before.push_back(first ? sequence.state : sequence.paths.at(request.tree.node(node).parent));
      tokens.push_back(first ? request.context.committed.back() : request.tree.node(node).token);
    }
  }
  if (tokens.empty()) return out;
  const at::Tensor rows = at::stack(before);
  const model::heads::PathStep step = head_->step(depth - 1, depth == 1 ? head_->start(rows) : rows, tokens);
  std::int64_t row = 0;
  for (const bases::LevelRequest& request : batch) {
    Sequence& sequence = sequences_.at(request.context.slot);
    if (!sequence.state.defined()) continue;
    for (const NodeId node : request.frontier) sequence.paths[node] = step.path[row++];
  }
  out.logits = HostLogits(step.logits);
  if (batch.front().context.policy.wants_hidden_states()) out.states = step.path.to(at::kCPU, at::kFloat).contiguous();
  return out;
}

}  // namespace foretell::decoding::heads
