// Bounds what speculation may lose against plain decoding, whatever a policy thinks of it.
//
// A policy that learns has to try what it does not know, and a drafter that never helps makes every try a loss. So the
// time of a run is compared with what plain decoding would have taken for the same tokens; a round may draft only while
// the loss, with the worst that this round can add, stays below a head start and a share of the plain time
// (conservative bandits: Wu, Shariff, Lattimore, Szepesvari 2016, arXiv 1602.04282). What speculation has won before
// may be lost again. A drafter that helps never meets the limit.
//
// Contract: all times in units of a plain token: what one round of plain decoding takes.
#pragma once

#include <algorithm>

#include "framework/core/parameters.h"

namespace foretell::bases {

struct LossLimitOptions {
  double max_loss = 0.01;
  double head_start = 24;
  void declare(Parameters& p);
};

class LossLimit {
 public:
  explicit LossLimit(const LossLimitOptions& options = {}) : options_(options) {}

  // Whether a round may take `loss` longer than what it emits is worth.
  bool allows(double loss) const { return lost_ + loss <= options_.head_start + options_.max_loss * tokens_; }
  // A round emitted `tokens` in the time of `time` plain ones.
  void add(double tokens, double time) {
    lost_ += time - tokens;
    tokens_ += tokens;
  }

 private:
  LossLimitOptions options_;
  double lost_ = 0, tokens_ = 0;
};

// When a policy that has stopped to draft looks again whether it should: after `first` rounds, then each time twice as
// late, up to `last` rounds. A try that is accepted is followed by another at once, but for so many in a row: a drafter
// may be right and still too dear, and that is known by then.
class ProbeSchedule {
 public:
  explicit ProbeSchedule(int first = 16, int last = 512) : last_(last), wait_(first) {}

  // Called for every round that would not draft; true: draft in this one.
  bool due() { return ++idle_ > wait_; }
  void answer(bool accepted) {
    if (accepted && ++in_a_row_ < kMostInARow) return;  // still due
    wait_ = std::min(2 * wait_, last_);
    idle_ = in_a_row_ = 0;
  }

 private:
  static constexpr int kMostInARow = 16;
  int last_, wait_, idle_ = 0, in_a_row_ = 0;
};

}  // namespace foretell::bases
