/// @file
/// The record of one round: what every metric is computed from.
///
/// Contract: a plain value. `drafted` counts proposed nodes, `scored` rows of the target's forward (the anchor
/// included), `accepted` nodes that were emitted, `emitted` tokens (accepted ones and the target's own). A round cut by
/// a stop token or a length limit counts what was emitted. Times are nanoseconds of the wall clock; in a batch a
/// phase's time is that of the whole batch divided by the sequences that took part.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "framework/api/draft_tree.h"

namespace foretell {

/// Nanoseconds of a round by phase.
struct PhaseTimes {
  /// @{
  /// Nanoseconds of the phase.
  std::int64_t draft = 0, score = 0, verify = 0, commit = 0;
  /// @}
  /// The sum of the phases.
  std::int64_t total() const { return draft + score + verify + commit; }
};

/// What the target computed for one sequence in a round, where not every row goes the same way: sums over the rows of
/// its forward pass.
struct StepWork {
  std::int64_t layers = 0;    ///< that the rows went through
  std::int64_t experts = 0;   ///< that they were sent to, in all layers
  std::int64_t attended = 0;  ///< positions that they attended to, in all layers
  int left_early = 0;         ///< rows that were answered before the last layer
  int recomputed = 0;         ///< rows of earlier rounds whose keys and values were computed now
  int probes = 0;             ///< how often the head was computed for an exit policy to look at
  /// Whether all sums are equal.
  friend bool operator==(const StepWork&, const StepWork&) = default;
};

/// Rows that one expert of a layer was given.
struct ExpertRows {
  int expert = 0;  ///< of the layer
  int rows = 0;    ///< at least 1
  /// Whether both are equal.
  friend bool operator==(const ExpertRows&, const ExpertRows&) = default;
};

/// What the experts of one layer got from one sequence in a round.
struct LayerExperts {
  int layer = 0;                      ///< of the model, from 0
  std::vector<ExpertRows> load = {};  ///< of the experts that got any rows, by expert
  int rows = 0;                       ///< that came to the layer
  int dropped = 0;                    ///< of these, rows that no expert took
  int pairs = 0;                      ///< experts of rows whose parent is in the forward too
  int shared = 0;                     ///< of these, that the parent has
  int together = 0;                   ///< distinct experts of the whole forward, with the rows of all its sequences
  /// Whether all are equal.
  friend bool operator==(const LayerExperts&, const LayerExperts&) = default;
};

/// What the forward of a round asked of a mixture of experts.
struct ExpertUse {
  int experts = 0;                        ///< of a layer
  int sequences = 1;                      ///< that shared the forward
  std::vector<LayerExperts> layers = {};  ///< with experts, in order
  /// Whether all are equal.
  friend bool operator==(const ExpertUse&, const ExpertUse&) = default;
};

/// What a round did, in numbers.
struct RoundRecord {
  int drafted = 0;                        ///< proposed nodes
  int scored = 0;                         ///< rows of the target's forward pass
  int depth = 0;                          ///< of the draft
  int accepted = 0;                       ///< proposed nodes that were emitted
  int emitted = 0;                        ///< tokens
  NextKind kind = NextKind::Bonus;        ///< of the target's own token
  PhaseTimes ns = {};                     ///< wall clock
  std::optional<StepWork> work = {};      ///< of a target whose rows may leave early
  std::optional<ExpertUse> experts = {};  ///< of a target with a mixture of experts
};

/// What one round says of acceptance: this many tokens were accepted one after the other, and whether the next one was
/// drafted and rejected. A draft that was cut by a stop token, or accepted to the end of a path, says nothing about the
/// next one.
struct ObservedRun {
  int accepted = 0;       ///< one after the other
  bool rejected = false;  ///< the next one was drafted and rejected
};
/// See ObservedRun.
inline ObservedRun observed_run(const RoundRecord& record) {
  const bool own_token = record.emitted == record.accepted + 1;  // else the answer ended inside the accepted tokens
  return {record.accepted, record.kind == NextKind::Correction && own_token && record.depth > record.accepted};
}

}  // namespace foretell
