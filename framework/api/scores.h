/// @file
/// What the target says about a draft.
///
/// Contract: row i is what follows node i. Everything is lazy: a row that nobody asks for is neither copied from the
/// device nor warped. Distributions are already warped for the node's own path (temperature, truncation, penalties,
/// bias); verifiers never see sampling options. References stay valid until the round ends.
#pragma once

#include <optional>
#include <span>

#include "framework/api/round.h"
#include "framework/core/types.h"
#include "framework/sampling/distribution.h"

namespace foretell::model {
struct HiddenStates;  // framework/model/hidden.h: tensors; only drafters that asked for them include it
}  // namespace foretell::model

namespace foretell {

/// The target's distributions over one draft, computed on demand.
class Scores {
 public:
  virtual ~Scores() = default;
  /// The token with the highest adjusted logit.
  virtual Token argmax(NodeId node) = 0;
  /// The target's distribution there.
  virtual const Distribution& distribution(NodeId node) = 0;
  /// Raw, on the host: [vocab]. An Error from targets that have none.
  virtual std::span<const float> logits(NodeId node) = 0;
  /// What the forward pass computed for this draft; none where that is the same for all rows.
  virtual std::optional<StepWork> work() const { return std::nullopt; }
  /// Which experts the forward pass used for this draft; none where the target has none.
  virtual std::optional<ExpertUse> experts() const { return std::nullopt; }
  /// Row i belongs to node i; what Drafter::required_hidden_states() asked for, null if that is nothing.
  virtual const model::HiddenStates* hidden() const { return nullptr; }
};

}  // namespace foretell
