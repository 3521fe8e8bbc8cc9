#include "framework/decoding/bases/head_source.h"

#include <ATen/ops/stack.h>

#include "framework/core/error.h"
#include "framework/model/hidden.h"

namespace foretell::bases {

void HeadSource::begin(SlotId slot, const PromptView&, int) { states_.erase(slot); }

// States are copied: they are rows of what the whole batch has computed, which would live as long as one of them.
void HeadSource::observe_prompt(SlotId slot, const PromptChunk& chunk) {
  FORETELL_CHECK(chunk.hidden, "a chunk of {} tokens without the states that were asked for", chunk.tokens.size());
  if (!chunk.tokens.empty()) states_[slot] = chunk.hidden->final_state[-1].clone();
}

void HeadSource::observe(std::span<const RoundView> rounds) {
  for (const RoundView& round : rounds) {
    const model::HiddenStates* hidden = round.scores.hidden();
    FORETELL_CHECK(hidden, "scores of {} nodes without the states that were asked for", round.draft.size());
    if (round.emitted == 0) continue;
    // The last token that was emitted is the anchor now: the row before it is that of the token emitted before.
    const NodeId before =
        round.emitted == 1 ? kAnchor : round.verdict.accepted[static_cast<std::size_t>(round.emitted) - 2];
    states_[round.slot] = hidden->final_state[before].clone();
  }
}

LevelRows HeadSource::level(std::span<const LevelRequest> batch, int depth) {
  LevelRows out;
  std::vector<at::Tensor> states;
  for (const LevelRequest& request : batch) {
    const auto found = states_.find(request.context.slot);
    const int row = found == states_.end() ? LevelRows::kNone : static_cast<int>(states.size());
    if (found != states_.end()) states.push_back(found->second);
    out.row_of.insert(out.row_of.end(), request.frontier.size(), row);
  }
  if (!states.empty()) out.logits = decoding::HostLogits(heads_.logits(depth - 1, at::stack(states)));
  return out;
}

}  // namespace foretell::bases
