// What the target says about a draft.
//
// Contract: row i is what follows node i. Everything is lazy: a row that nobody asks for is neither copied from the
// device nor warped. Laws are already warped for the node's own path (temperature, cuts, penalties, bias); verifiers
// never see sampling options. References stay valid until the round ends.
#pragma once

#include <span>

#include "framework/core/types.h"
#include "framework/sampling/law.h"

namespace foretell {

struct HiddenStates;  // framework/api/hidden.h: tensors; only drafters that asked for them include it

class Scores {
 public:
  virtual ~Scores() = default;
  virtual Token argmax(NodeId node) = 0;    // of the adjusted logits
  virtual const Law& law(NodeId node) = 0;  // the target's law there
  // Raw, on the host: [vocab]. An Error from targets that have none (a recorded answer).
  virtual std::span<const float> logits(NodeId node) = 0;
  virtual const HiddenStates* hidden() const {
    return nullptr;
  }  // row i belongs to node i; what Drafter::wants() asked for
};

}  // namespace foretell
