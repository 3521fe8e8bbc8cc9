#include "framework/decoding/heads/state_reader.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include "framework/core/error.h"
#include "framework/decoding/heads/committed_states.h"
#include "framework/model/heads/state_places.h"

namespace foretell::decoding::heads {

using model::heads::kFinalState;

StateReader::StateReader(std::vector<int> places) : places_(std::move(places)) {
  for (const int place : places_) {
    if (place == kFinalState)
      request_.final_state = true;
    else if (std::ranges::find(request_.aux_states, place) == request_.aux_states.end())
      request_.aux_states.push_back(place);
  }
}

at::Tensor StateReader::joined(const model::HiddenStates& states) const {
  std::vector<at::Tensor> parts;
  for (const int place : places_) {
    const auto at = std::ranges::find(request_.aux_states, place) - request_.aux_states.begin();
    parts.push_back(place == kFinalState ? states.final_state : states.aux_states.at(static_cast<std::size_t>(at)));
  }
  return parts.size() == 1 ? parts.front() : at::cat(parts, 1);
}

at::Tensor StateReader::prompt_rows(const PromptChunk& chunk) const {
  FORETELL_CHECK(chunk.hidden, "a chunk of {} tokens without the states that were asked for", chunk.tokens.size());
  return joined(*chunk.hidden).clone();
}

at::Tensor StateReader::committed_rows(const RoundView& round) const {
  const model::HiddenStates* hidden = round.scores.hidden();
  FORETELL_CHECK(hidden, "scores of {} nodes without the states that were asked for", round.draft.size());
  const std::vector<std::int64_t> nodes = committed_nodes(round);
  if (nodes.empty()) return {};
  const at::Tensor all = joined(*hidden);
  return all.index_select(0, at::tensor(nodes).to(all.device()));
}

}  // namespace foretell::decoding::heads
