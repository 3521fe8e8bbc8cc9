/// @file
/// Decides which part of a draft is kept and what the target says next.
///
/// Contract: stateless and const; all randomness comes from the Rng. verify() walks from the anchor: `accepted` is a
/// path of proposed nodes, `next` a token of the target's. A lossless verifier emits the target's distribution whatever
/// was drafted, provided that every proposal's distribution is the true one; whether it is lossless is said at
/// registration, and tests read it there.
#pragma once

#include <optional>
#include <string>

#include "framework/api/draft_tree.h"
#include "framework/api/drafter.h"
#include "framework/api/scores.h"
#include "framework/core/registry.h"
#include "framework/core/rng.h"

namespace foretell {

/// What is known of a draft's distribution once the tokens that were emitted are known; a replay above temperature 0
/// needs it (replay_target.h).
enum class GivenOutput {
  Unknown,    ///< nothing: such a replay is refused
  Unchanged,  ///< the emitted token has the target's distribution whatever was drafted, and is matched with the draft
  Rejection,  ///< the proposals of a node are tested one after the other as in rejection_walk.h
};

/// Accepts a path of a draft and chooses the token after it.
class Verifier : public Strategy {
 public:
  /// Verifies one draft; asks `scores` only where the walk goes.
  virtual Verdict verify(const DraftTree& draft, Scores& scores, Rng& rng) const = 0;
  /// Why this verifier cannot judge drafts of that form under that sampling; none if it can.
  virtual std::optional<std::string> refuses(const DraftForm&, const SamplingOptions&) const { return std::nullopt; }
  /// Whether it needs more of the target than the argmax at temperature 0: a recorded answer cannot give it.
  virtual bool needs_logits() const { return false; }
  /// How its drafts are drawn in a replay above temperature 0.
  virtual GivenOutput given_output() const { return GivenOutput::Unknown; }
};

/// @cond
template <>
Registry<Verifier>& Registry<Verifier>::instance();
template <>
const char* Registry<Verifier>::kind();
template <>
std::unique_ptr<Verifier> Registry<Verifier>::guard(const PluginStrategy& who, std::unique_ptr<Verifier> strategy);
/// @endcond

}  // namespace foretell
