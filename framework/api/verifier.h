/// @file
/// Decides which part of a draft is kept and what the target says next.
///
/// Contract: stateless and const; all randomness comes from the Rng. verify() walks from the anchor: `accepted` is a
/// path of proposed nodes, `next` a token of the target's. A lossless verifier emits the target's distribution whatever
/// was drafted, provided that every proposal's distribution is the true one; whether it is lossless, needs logits and
/// how it accepts is said at registration (StrategyInfo).
#pragma once

#include <optional>
#include <string>

#include "framework/api/draft_tree.h"
#include "framework/api/drafter.h"
#include "framework/api/scores.h"
#include "framework/core/registry.h"
#include "framework/core/rng.h"

namespace foretell {

/// Accepts a path of a draft and chooses the token after it.
class Verifier : public Strategy {
 public:
  /// Verifies one draft; asks `scores` only where the walk goes.
  virtual Verdict verify(const DraftTree& draft, Scores& scores, Rng& rng) const = 0;
  /// Why this verifier cannot judge drafts of that form under that sampling; none if it can.
  virtual std::optional<std::string> unsupported_reason(const DraftForm&, const SamplingOptions&) const {
    return std::nullopt;
  }
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
