#include "framework/cost/timing_contradiction.h"

#include "tests/support/catch.h"

using namespace foretell;

namespace {

// A forward of five rows should take 20, or 22 after what was there before.
TimedRounds rounds(double score_ns, double draft_ns = 0) {
  return {.method = ScoredRounds{.rows = 5, .score_ns = score_ns, .draft_ns = draft_ns, .least_ns = 20, .most_ns = 22}};
}

}  // namespace

TEST_CASE("a forward that takes 1.5 times its measured cost, or that much less, cannot be") {
  CHECK(timing_contradiction(rounds(21)).empty());
  CHECK(timing_contradiction(rounds(32)).empty());
  CHECK(timing_contradiction(rounds(44)) == "scoring 5 rows took 2x the measured cost");
  CHECK(timing_contradiction(rounds(14)).empty());
  CHECK(timing_contradiction(rounds(10)) == "scoring 5 rows took 0.5x the measured cost");
  CHECK(timing_contradiction(rounds(10, 8)).empty());  // a part of the forward was computed while drafting
  TimedRounds both = rounds(21);
  both.baseline = ScoredRounds{.rows = 1, .score_ns = 90, .least_ns = 10, .most_ns = 10};
  CHECK(timing_contradiction(both) == "scoring 1 row of the baseline took 9x the measured cost");
}

TEST_CASE("nothing is faster than full acceptance would be") {
  TimedRounds fast = rounds(21);
  fast.decode_speedup = 0.7;
  CHECK(timing_contradiction(fast).empty());
  fast.full_acceptance = 0.67;  // costs are measured too: a tenth more is no contradiction
  CHECK(timing_contradiction(fast).empty());
  fast.decode_speedup = 5.33;
  CHECK(timing_contradiction(fast) == "decoding was 5.33x as fast, full acceptance gives 0.67x");
}
