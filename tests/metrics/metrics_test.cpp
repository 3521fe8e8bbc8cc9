#include "framework/metrics/metrics.h"
#include "framework/metrics/rouge.h"

#include "tests/support/catch.h"

using namespace foretell;

namespace {

RoundRecord round_of(int drafted, int accepted, int emitted) {
  const NextKind kind = accepted < drafted ? NextKind::Correction : NextKind::Bonus;
  return {.drafted = drafted,
          .scored = drafted + 1,
          .depth = drafted,
          .accepted = accepted,
          .emitted = emitted,
          .kind = kind,
          .ns = {1, 2, 3, 4}};
}

// Four drafted chains of length 4, 4, 2, 0 that accepted 4, 1, 0, 0.
const std::vector<RoundRecord> kRounds = {round_of(4, 4, 5), round_of(4, 1, 2), round_of(2, 0, 1), round_of(0, 0, 1)};

}  // namespace

TEST_CASE("means over rounds: pooled and per request differ") {
  CHECK(*mean_acceptance_length(kRounds) == Approx(9.0 / 4));
  const std::vector<Rounds> requests = {Rounds(kRounds).first(1), Rounds(kRounds).subspan(1), Rounds{}};
  CHECK(*mean_acceptance_length_per_request(requests) == Approx((5.0 + 4.0 / 3) / 2));
  CHECK(*draft_acceptance_rate(kRounds) == Approx(5.0 / 10));
}

TEST_CASE("a metric without anything to divide by is absent") {
  const std::vector<RoundRecord> plain = {round_of(0, 0, 1)};
  CHECK_FALSE(mean_acceptance_length({}).has_value());
  CHECK_FALSE(draft_acceptance_rate(plain).has_value());
  CHECK_FALSE(mean_acceptance_length_per_request({}).has_value());
  CHECK_FALSE(median({}).has_value());
  CHECK(acceptance_rate_per_position(plain).empty());
  CHECK(*mean_acceptance_length(plain) == 1.0);
}

TEST_CASE("acceptance by position: unconditional over drafting rounds, conditional over rounds that got there") {
  CHECK(acceptance_rate_per_position(kRounds) == std::vector<double>{2.0 / 3, 1.0 / 3, 1.0 / 3, 1.0 / 3});
  CHECK(conditional_acceptance_per_position(kRounds) == std::vector<double>{2.0 / 3, 1.0 / 2, 1.0, 1.0});
}

TEST_CASE("the counts behind the rates by position") {
  const std::vector<PositionCounts> counts = position_counts(kRounds);
  REQUIRE(counts.size() == 4);
  CHECK(counts[0] == PositionCounts{.accepted = 2, .drafting = 3, .evaluated = 3});
  CHECK(counts[1] == PositionCounts{.accepted = 1, .drafting = 3, .evaluated = 2});
  CHECK(counts[3] == PositionCounts{.accepted = 1, .drafting = 3, .evaluated = 1});
  // A position that no round reached has a rate of 0 among drafting rounds and none among those that got there.
  const std::vector<RoundRecord> rejected = {round_of(2, 0, 1)};
  CHECK(acceptance_rate_per_position(rejected) == std::vector<double>{0, 0});
  CHECK(conditional_acceptance_per_position(rejected) == std::vector<double>{0});
}

TEST_CASE("what a request's end or a path's end left undecided is no rejection") {
  // Of 4 drafted tokens the second one ended the answer; and a tree of depth 3 whose accepted path had no child at
  // depth 2.
  RoundRecord path = round_of(6, 1, 2);
  path.depth = 3;
  path.kind = NextKind::Bonus;
  const std::vector<RoundRecord> rounds = {round_of(4, 2, 2), path, round_of(4, 2, 3)};
  CHECK(conditional_acceptance_per_position(rounds) == std::vector<double>{1, 1, 0});
  CHECK(*acceptance_per_trial(rounds) == Approx(5.0 / 6));
  CHECK(*acceptance_per_trial(kRounds) == Approx(5.0 / 7));
  CHECK_FALSE(acceptance_per_trial(std::vector<RoundRecord>{round_of(0, 0, 1)}));
}

TEST_CASE("means per round") {
  CHECK(*accepted_per_round(kRounds) == Approx(5.0 / 4));
  CHECK(*drafted_per_round(kRounds) == Approx(10.0 / 4));
  CHECK(*scored_per_round(kRounds) == Approx(14.0 / 4));
  CHECK(*emitted_per_scored(kRounds) == Approx(9.0 / 14));
  CHECK(*undrafted_round_share(kRounds) == Approx(1.0 / 4));
  CHECK(phase_times_per_round(kRounds)->score == Approx(2));
  CHECK(phase_times_per_round(kRounds)->total() == Approx(10));
  const std::vector<Rounds> requests = {Rounds(kRounds).first(1), Rounds(kRounds).subspan(1, 2),
                                        Rounds(kRounds).last(1)};
  CHECK(*draft_acceptance_rate_per_request(requests) == Approx((1.0 + 1.0 / 6) / 2));
  CHECK_FALSE(emitted_per_scored({}));
  CHECK_FALSE(undrafted_round_share({}));
  CHECK_FALSE(phase_times_per_round({}));
}

TEST_CASE("work is counted by scored row, over the rounds that know it") {
  CHECK_FALSE(work_rates(kRounds));
  std::vector<RoundRecord> rounds(3);
  rounds[0].scored = 1;
  rounds[1].scored = 4;
  rounds[2].scored = 100;
  rounds[0].work = StepWork{10, 20, 30, 1, 0, 2};
  rounds[1].work = StepWork{20, 30, 70, 2, 5, 3};
  const auto rates = work_rates(rounds);
  REQUIRE(rates);
  CHECK(rates->layers_per_row == Approx(6));
  CHECK(rates->experts_per_row == Approx(10));
  CHECK(rates->attended_per_row == Approx(20));
  CHECK(rates->left_early_share == Approx(0.6));
  CHECK(rates->recomputed_per_row == Approx(1));
  CHECK(rates->probes_per_row == Approx(1));
}

TEST_CASE("histograms count every round once") {
  CHECK(acceptance_histogram(kRounds) == std::vector<std::int64_t>{2, 1, 0, 0, 1});
  const auto by_depth = acceptance_histogram_by_depth(kRounds);
  CHECK(by_depth.at(4) == std::vector<std::int64_t>{0, 1, 0, 0, 1});
  CHECK(by_depth.at(2) == std::vector<std::int64_t>{1});
  CHECK(by_depth.at(0) == std::vector<std::int64_t>{1});
}

TEST_CASE("times add up by phase, and the median is the middle") {
  const PhaseTimes times = phase_times(kRounds);
  CHECK(times.draft == 4);
  CHECK(times.commit == 16);
  CHECK(times.total() == 40);
  CHECK(*median({3, 1, 2}) == 2);
  CHECK(*median({4, 1, 2, 3}) == 2.5);
}

TEST_CASE("ROUGE-L is the F1 of the longest common subsequence of words") {
  CHECK(rouge_l("a small boat left at noon", "a small boat left at noon") == 1);
  CHECK(rouge_l("A small, boat!", "a SMALL boat") == 1);
  CHECK(rouge_l("one two three four", "one too three four") == Approx(0.75));
  CHECK(rouge_l("three four two one", "one two three four") == Approx(0.5));
  CHECK(rouge_l("a b c d", "b d") == Approx(2.0 * 2 / 6));
  CHECK(rouge_l("", "") == 1);
  CHECK(rouge_l("...", "word") == 0);
}
