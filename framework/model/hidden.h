/// @file
/// Hidden states that a drafter asked for.
///
/// Contract: one row a token or node, on the model's device. Which layers they come from is in the request, in the same
/// order.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace foretell::model {

/// What HiddenStateRequest asked for.
struct HiddenStates {
  std::vector<at::Tensor> aux_states;  ///< [rows, hidden] each
  at::Tensor final_state;              ///< [rows, hidden], the head's input; undefined if it was not asked for
};

}  // namespace foretell::model
