// Whether what a clock measured can be, given what forwards cost on the same machine.
//
// Contract: pure. Times are means of a round, in ns. Two things cannot be: a forward that takes 1.5 times as long as
// its rows were measured to cost, or that much less; and a speed-up beyond what full acceptance would have given. Then
// a busy machine has been measured, in the run or before it, and neither the speed-up nor a prediction means anything.
// A drafter that computes a part of the target's forward itself makes the forward shorter; so a round is too short only
// with its drafting.
#pragma once

#include <optional>
#include <string>

namespace foretell::cost {

struct ScoredRounds {
  double rows = 1;                    // of a forward
  double score_ns = 0, draft_ns = 0;  // as measured in the run
  double least_ns = 0,
         most_ns = 0;  // of the forward, by the measured cost of its rows: as it is, and with all that was there before
                       // attended to
};

struct TimedRounds {
  std::optional<ScoredRounds> method = {}, baseline = {};
  std::optional<double> decode_speedup = {};
  std::optional<double> full_acceptance = {};  // the speed-up, if every drafted token were accepted
};

// In words, without a period: "scoring 5 rows took 2.1x their measured cost". Empty where there is none.
std::string timing_contradiction(const TimedRounds& rounds);

}  // namespace foretell::cost
