// The record of one round: what every metric is computed from.
//
// Contract: a plain value. `drafted` counts proposed nodes, `scored` rows of the target's forward (the anchor
// included), `accepted` nodes that were emitted, `emitted` tokens (accepted ones and the target's own). A round cut by
// a stop token or a length limit counts what was emitted. Times are nanoseconds of the wall clock; in a batch a phase's
// time is that of the whole batch divided by the sequences that took part.
#pragma once

#include <cstdint>

#include "framework/api/draft_tree.h"

namespace foretell {

struct PhaseTimes {
  std::int64_t draft = 0, score = 0, verify = 0, commit = 0;
  std::int64_t total() const { return draft + score + verify + commit; }
};

struct RoundRecord {
  int drafted = 0;
  int scored = 0;
  int depth = 0;  // of the draft
  int accepted = 0;
  int emitted = 0;
  NextKind kind = NextKind::Bonus;
  PhaseTimes ns = {};
};

// What one round says of acceptance: this many tokens were accepted one after the other, and whether the next one was
// drafted and rejected. A draft that was cut by a stop token, or accepted to the end of a path, says nothing about the
// next one.
struct ObservedRun {
  int accepted = 0;
  bool rejected = false;
};
inline ObservedRun observed_run(const RoundRecord& record) {
  const bool own_token = record.emitted == record.accepted + 1;  // else the answer ended inside the accepted tokens
  return {record.accepted, record.kind == NextKind::Correction && own_token && record.depth > record.accepted};
}

}  // namespace foretell
