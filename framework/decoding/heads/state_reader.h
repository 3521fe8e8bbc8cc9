// What heads read of the target's states: the places that they name, side by side, for the rows that are committed.
//
// Contract: tensors are copies, so they do not keep alive what a whole batch has computed.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "framework/api/drafter.h"
#include "framework/model/hidden.h"

namespace foretell::decoding::heads {

class StateReader {
 public:
  // Places as in state_places.h. None: nothing is read.
  explicit StateReader(std::vector<int> places);

  const HiddenStateRequest& request() const { return request_; }
  bool empty() const { return places_.empty(); }
  // [rows, places * hidden]
  at::Tensor joined(const model::HiddenStates& states) const;
  at::Tensor prompt_rows(const PromptChunk& chunk) const;
  // The rows that a round has committed (committed_states.h). Undefined where it emitted nothing.
  at::Tensor committed_rows(const RoundView& round) const;

 private:
  std::vector<int> places_;
  HiddenStateRequest request_;
};

}  // namespace foretell::decoding::heads
