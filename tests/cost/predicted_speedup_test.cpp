#include "framework/cost/predicted_speedup.h"

#include <cmath>

#include "tests/support/catch.h"

using namespace foretell;

namespace {

// One row takes 10, five rows 21; a draft token takes 1.
const RowCosts kSteep({{1, 10}, {5, 21}}, {{1, 1}});

// 1 + a + ... + a^depth, the formula itself.
double iid_emitted(double acceptance, int depth) {
  double emitted = 1;
  for (int level = 1; level <= depth; ++level) emitted += std::pow(acceptance, level);
  return emitted;
}

double emitted_by_chain(const std::vector<double>& conditional, int depth) {
  return emitted_by({.shapes = {{.rows = depth + 1, .depth = depth}}}, conditional);
}

}  // namespace

TEST_CASE("where rows cost nothing the i.i.d. prediction is the paper's formula") {
  const RowCosts flat = RowCosts::flat(0.05);
  const double a = 0.8;
  const SpeedupPrediction p = predict_speedup(flat, chain_plan(flat, 5), {.per_level = a});
  CHECK(*p.iid == Approx((1 - std::pow(a, 6)) / ((1 - a) * (0.05 * 5 + 1))));
  CHECK(p.oracle == Approx(6 / 1.25));
  CHECK(iid_emitted(*p.break_even, 5) == Approx(1.25));
}

TEST_CASE("rows that cost and drafts that cost are paid by acceptance") {
  const SpeedupPrediction p =
      predict_speedup(kSteep, chain_plan(kSteep, 4), {.per_level = 0.5, .conditional_per_position = {0.8, 0.5}});
  CHECK(p.score_cost == Approx(2.1));
  CHECK(p.draft_cost == Approx(0.4));
  CHECK(p.round_cost() == Approx(2.5));
  CHECK(*p.iid == Approx(1.9375 / 2.5));
  CHECK(*p.position_wise == Approx((1 + 0.8 + 0.4) / 2.5));  // positions 3 and 4 were never evaluated
  CHECK(p.oracle == Approx(2));
  CHECK(iid_emitted(*p.break_even, 4) == Approx(2.5));
  CHECK(*p.break_even == Approx(0.64447).epsilon(1e-4));  // a + a^2 + a^3 + a^4 = 1.5
}

TEST_CASE("what is not predicted says why, and what was measured") {
  const std::string why =
      ": nothing is predicted in batches of 8, whose forwards cost more than as many rows of one sequence";
  CHECK(unpredicted_reason(8, 1.09) == "wins" + why);
  CHECK(unpredicted_reason(8, 0.9) == "loses" + why);
  CHECK(unpredicted_reason(8, {}) == "not known to win or lose" + why);
}

TEST_CASE("no acceptance breaks even where even a perfect draft loses") {
  const RowCosts linear({{1, 1}, {2, 2}}, {{1, 0.1}});
  const SpeedupPrediction p = predict_speedup(linear, chain_plan(linear, 4), {.per_level = 0.9});
  CHECK_FALSE(p.break_even);
  CHECK(p.oracle == Approx(5 / 5.4));
  CHECK(reason_of(p) == "loses: scoring 5 rows costs 5.0x one row, drafting 0.4x; even full acceptance gives 0.93x");
}

TEST_CASE("a draft that costs nothing breaks even without acceptance") {
  const RowCosts flat = RowCosts::flat();
  CHECK(*predict_speedup(flat, chain_plan(flat, 3), {}).break_even == 0);
}

TEST_CASE("emitted tokens by depth") {
  CHECK(emitted_by_chain({}, 0) == 1);
  CHECK(emitted_by_chain({0.5, 0.5, 0.5}, 3) == Approx(1.875));
  CHECK(emitted_by_chain(std::vector<double>(7, 1.0), 7) == 8);
  CHECK(emitted_by_chain(std::vector<double>(7, 0.0), 7) == 1);
  CHECK(emitted_by_chain({0.5, 1.0}, 2) == Approx(2.0));
  CHECK(emitted_by_chain({0.5, 1.0}, 9) == Approx(2.0));
  CHECK(emitted_by_chain({}, 4) == 1);
}

TEST_CASE("a tree and a drafter without a model are planned from what was measured") {
  const std::vector<RoundRecord> rounds = {{.scored = 9, .depth = 3, .ns = {4, 100, 2, 1}},
                                           {.scored = 5, .depth = 2, .ns = {2, 100, 1, 0}}};
  const std::vector<RoundRecord> plain = {{.scored = 1, .ns = {0, 10, 1, 1}}};
  const RoundPlan plan = plan_of(rounds, plain);
  CHECK(plan.mean_rows() == 7);
  CHECK(plan.mean_depth() == 2.5);
  CHECK(plan.draft_ns == 3);
  CHECK(plan.other_ns == 2);
  CHECK(plan.plain_other_ns == 2);
  const SpeedupPrediction p = predict_speedup(kSteep, plan, {.per_level = 0.5});
  CHECK(p.score_cost == Approx(2.65));
  CHECK(p.plain_cost == Approx(1.2));
  CHECK(p.round_cost() == Approx((2.65 + 0.3 + 0.2) / 1.2));
  CHECK(*p.iid == Approx((1 + 0.5 + 0.25 + 0.0625) * 1.2 / 3.15));  // a^3 in half of the rounds
}

TEST_CASE("rounds that differ emit less than rounds of their mean depth") {
  const std::vector<RoundRecord> uneven = {{.scored = 11, .depth = 10}, {.scored = 1, .depth = 0}};
  const std::vector<RoundRecord> even = {{.scored = 6, .depth = 5}};
  const RowCosts flat = RowCosts::flat();
  CHECK(*predict_speedup(flat, plan_of(uneven), {.per_level = 0.5}).iid == Approx((iid_emitted(0.5, 10) + 1) / 2));
  CHECK(*predict_speedup(flat, plan_of(even), {.per_level = 0.5}).iid >
        1.3 * *predict_speedup(flat, plan_of(uneven), {.per_level = 0.5}).iid);
}

TEST_CASE("an answer's end cuts its last round") {
  RoundPlan plan{.shapes = {{.rows = 5, .depth = 4}}};
  // Rounds of five tokens: answers of 1, 5, 6 and 12 tokens need 1, 1, 2 and 3.
  plan.answers = {{1, 1}, {5, 1}, {6, 1}, {12, 1}};
  const std::vector<double> all(4, 1.0), none(4, 0.0);
  CHECK(emitted_by(plan, all) == Approx(24.0 / 7));
  CHECK(emitted_by(plan, none) == 1);
  // Three tokens, each drafted one accepted with 1/2, one drafted a round: 2 rounds after a hit or a miss and a hit, 3
  // after two misses.
  const RoundPlan one{.shapes = {{.rows = 2, .depth = 1}}, .answers = {{3, 7}}};
  CHECK(emitted_by(one, std::vector<double>{0.5}) == Approx(3 / (0.5 * 2 + 0.25 * 2 + 0.25 * 3)));
  // Long answers hardly feel it.
  plan.answers = {{100000, 1}};
  CHECK(emitted_by(plan, std::vector<double>(4, 0.8)) == Approx(iid_emitted(0.8, 4)).epsilon(1e-4));
  plan.answers = {};
  CHECK(emitted_by(plan, std::vector<double>(4, 0.8)) == Approx(iid_emitted(0.8, 4)));
  CHECK(emitted_by(plan, std::vector<double>{0.8, 0.5}) == Approx(1 + 0.8 + 0.4));
  CHECK(*predict_speedup(kSteep, one, {.per_level = 0.5}).iid == Approx(3 / 2.25 / (kSteep.target(2) / 10)));
}

TEST_CASE("plain decoding costs what it costs") {
  const SpeedupPrediction p = predict_speedup(kSteep, plan_of({}), {});
  CHECK(p.round_cost() == 1);
  CHECK(p.oracle == 1);
  CHECK_FALSE(p.iid);
  CHECK(reason_of(p) == "drafts nothing: a round costs 1.00x a plain one");
}

TEST_CASE("the reason is one sentence with the numbers that decide") {
  SpeedupPrediction p = predict_speedup(kSteep, chain_plan(kSteep, 4), {.per_level = 0.55});
  CHECK(reason_of(p) == "loses: scoring 5 rows costs 2.1x one row, drafting 0.4x; needs acceptance 0.64, has 0.55");
  p = predict_speedup(kSteep, chain_plan(kSteep, 4), {.per_level = 0.9});
  CHECK(reason_of(p) == "wins: scoring 5 rows costs 2.1x one row, drafting 0.4x; needs acceptance 0.64, has 0.90");
  CHECK(reason_of(p, 0.8) ==
        "loses: scoring 5 rows costs 2.1x one row, drafting 0.4x; needs acceptance 0.64, has 0.90; by this arithmetic "
        "1.64x was to be "
        "expected");
  const std::vector<RoundShape> shapes = {{.rows = 4, .depth = 3, .share = 0.7}, {.rows = 5, .depth = 4, .share = 0.3}};
  p = predict_speedup(kSteep, {.shapes = shapes, .draft_ns = 1, .other_ns = 2}, {});
  CHECK(reason_of(p) ==
        "not known to win or lose: scoring 4.3 rows costs 1.9x one row, drafting 0.1x, the rest 0.2x; needs acceptance "
        "0.60");
}
