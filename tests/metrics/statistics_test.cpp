#include "framework/metrics/statistics.h"

#include <cmath>
#include <limits>
#include <numbers>

#include "framework/core/rng.h"

#include "tests/support/catch.h"

using namespace foretell;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

double normal(PhiloxRng& rng) {
  return std::sqrt(-2 * std::log(1 - rng.uniform())) * std::cos(2 * std::numbers::pi * rng.uniform());
}

// Prompts whose lengths differ much and whose two times have that in common: the method is 1.3 times as fast in
// expectation.
constexpr double kTrueRatio = 1.3;
std::vector<PromptPair> lognormal_prompts(PhiloxRng& rng, int n, double spread) {
  std::vector<PromptPair> prompts(n);
  for (PromptPair& p : prompts) {
    const double length = std::exp(0.8 * normal(rng));
    p.method_tokens = p.baseline_tokens = 100 * length;
    p.baseline_ns = 1e9 * length * std::exp(0.3 * normal(rng));
    p.method_ns = p.baseline_ns / kTrueRatio * std::exp(spread * normal(rng) - spread * spread / 2);
  }
  return prompts;
}

double width(const Interval& interval) { return interval.high - interval.low; }

}  // namespace

TEST_CASE("a speed-up is the ratio of total speeds, and long prompts weigh more") {
  const std::vector<PromptPair> prompts = {{10, 1e9, 10, 2e9}, {90, 9e9, 90, 9e9}};
  const Estimate speedup = paired_speedup(prompts);
  CHECK(*speedup.value == Approx(1.1));
  CHECK(speedup.samples == 2);
  // Two prompts, at 1x and 2x, say next to nothing; nor do five.
  CHECK_FALSE(speedup.interval);
  CHECK(speedup.no_interval == "an interval needs at least 6 prompts, there are 2 prompts");
  CHECK_FALSE(paired_speedup(std::vector<PromptPair>(5, {10, 1e9, 10, 2e9})).interval);
  REQUIRE(paired_speedup(std::vector<PromptPair>(6, {10, 1e9, 10, 2e9})).interval);
}

TEST_CASE("the 95 % interval of a speed-up covers the true ratio about as often as it says") {
  for (const int n : {10, 40}) {
    int covered = 0, trials = 400;
    for (int trial = 0; trial < trials; ++trial) {
      PhiloxRng rng(
          {.seed = 11, .request = static_cast<std::uint64_t>(trial), .position = static_cast<std::uint32_t>(n)});
      const Estimate speedup = paired_speedup(lognormal_prompts(rng, n, 0.25), {.resamples = 500});
      covered += speedup.interval->contains(kTrueRatio);
    }
    INFO(n << " prompts");
    CHECK(covered >= 0.90 * trials);
    CHECK(covered <= 0.995 * trials);
  }
}

TEST_CASE("pairing prompts makes the interval narrower") {
  PhiloxRng rng({.seed = 3});
  std::vector<PromptPair> prompts = lognormal_prompts(rng, 40, 0.1);
  const Interval paired = *paired_speedup(prompts).interval;
  // The same sums, but every baseline beside another prompt's method.
  std::vector<PromptPair> apart = prompts;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const PromptPair& other = prompts[(i + 7) % prompts.size()];
    apart[i].baseline_tokens = other.baseline_tokens;
    apart[i].baseline_ns = other.baseline_ns;
  }
  CHECK(*paired_speedup(apart).value == Approx(*paired_speedup(prompts).value));
  CHECK(width(*paired_speedup(apart).interval) > 1.5 * width(paired));
}

TEST_CASE("an interval is the same for the same seed, and inverts with the ratio") {
  PhiloxRng rng({.seed = 4});
  const std::vector<PromptPair> prompts = lognormal_prompts(rng, 20, 0.2);
  const Interval first = *paired_speedup(prompts).interval, again = *paired_speedup(prompts).interval;
  CHECK(first.low == again.low);
  CHECK(first.high == again.high);
  const Interval other = *paired_speedup(prompts, {.seed = 1}).interval;
  CHECK((other.low != first.low || other.high != first.high));
  std::vector<PromptPair> inverted;
  for (const PromptPair& p : prompts)
    inverted.push_back({p.baseline_tokens, p.baseline_ns, p.method_tokens, p.method_ns});
  const Interval inverse = *paired_speedup(inverted).interval;
  CHECK(inverse.low == Approx(1 / first.high).epsilon(1e-3));
  CHECK(inverse.high == Approx(1 / first.low).epsilon(1e-3));
  CHECK(width(*paired_speedup(prompts, {.confidence = 0.5}).interval) < width(first));
}

TEST_CASE("what cannot be estimated is absent and says why") {
  CHECK_FALSE(paired_speedup({}).value);
  CHECK(judge(paired_speedup({})).words == "not judged: no prompt was timed on both sides");

  const std::vector<PromptPair> one = {{10, 1e9, 10, 2e9}};
  const Estimate speedup = paired_speedup(one);
  CHECK(*speedup.value == 2);
  CHECK_FALSE(speedup.interval);
  CHECK_FALSE(judge(speedup).verdict);
  CHECK(judge(speedup).words == "not judged: an interval needs at least 6 prompts, there is 1 prompt");

  const std::vector<PromptPair> hostile = {{10, 0, 10, 1e9},   {10, kNan, 10, 1e9},
                                           {-1, 1e9, 10, 1e9}, {10, 1e9, 10, 1e9},
                                           {10, 1e9, 10, 1e9}, {10, 1e9, std::numeric_limits<double>::infinity(), 1e9}};
  CHECK(paired_speedup(hostile).samples == 2);
  CHECK(paired_speedup(hostile).left_out == 4);
  CHECK(*paired_speedup(hostile).value == 1);
  CHECK_FALSE(paired_speedup(hostile).interval);
  std::vector<PromptPair> mostly_good = hostile;
  mostly_good.insert(mostly_good.end(), 4, {10, 1e9, 10, 1e9});
  CHECK(width(*paired_speedup(mostly_good).interval) == 0);

  const std::vector<PromptPair> silent(3, PromptPair{0, 1e9, 0, 1e9});
  CHECK_FALSE(paired_speedup(silent).value);
  CHECK_FALSE(paired_speedup(silent).interval);
  CHECK_FALSE(paired_speedup(std::vector<PromptPair>{{1, 1, 0, 1}, {1, 1, 1, 1}}).interval);
}

TEST_CASE("a mean has an interval of about two standard errors") {
  PhiloxRng rng({.seed = 5});
  std::vector<double> values;
  for (int i = 0; i < 400; ++i) values.push_back(10 + normal(rng));
  values.push_back(kNan);
  const Estimate mean = mean_with_interval(values);
  CHECK(mean.samples == 400);
  CHECK(mean.left_out == 1);
  CHECK(width(*mean.interval) == Approx(2 * 1.96 / 20).epsilon(0.15));
  CHECK(mean.interval->contains(*mean.value));
  CHECK_FALSE(mean_with_interval(std::vector<double>{3}).interval);
}

TEST_CASE("few samples widen the interval by Student's t at least, and by twice that at most") {
  // Of two values: 2 +- 12.706 standard errors of 1.
  const Interval two = *mean_with_interval(std::vector<double>{1, 3}).interval;
  CHECK(two.low == Approx(2 - 12.7062).epsilon(1e-4));
  CHECK(two.high == Approx(2 + 12.7062).epsilon(1e-4));
  // Five with a standard error of sqrt(2.5 / 5): t(4) = 2.7764 of them on either side, or more.
  const Interval five = *mean_with_interval(std::vector<double>{1, 2, 3, 4, 5}).interval;
  const double student = 2.7764 * std::sqrt(0.5);
  for (const double reach : {3 - five.low, five.high - 3}) {
    CHECK(reach >= Approx(student).epsilon(1e-4));
    CHECK(reach <= Approx(2 * student).epsilon(1e-4));
  }
  // One that is unlike all the others could be the first of many: the interval goes farther up than down, and not
  // without end.
  const Interval skewed = *mean_with_interval(std::vector<double>{1, 1.001, 1.002, 1, 1.001, 1.002, 1, 9}).interval;
  const double mean = 2.00075;
  CHECK(skewed.high - mean > 1.5 * (mean - skewed.low));
  CHECK(skewed.high < 8);
}

TEST_CASE("prompts that are all alike have an interval of no width") {
  const std::vector<PromptPair> alike(9, PromptPair{10, 1e9, 10, 2e9});
  CHECK(width(*paired_speedup(alike).interval) == Approx(0).margin(1e-9));
  CHECK(judge(paired_speedup(alike)).wins());
}

TEST_CASE("noise is the coefficient of variation of repeats") {
  CHECK(*coefficient_of_variation(std::vector<double>{9, 10, 11}) == Approx(0.1));
  CHECK(*coefficient_of_variation(std::vector<double>{5, 5}) == 0);
  CHECK_FALSE(coefficient_of_variation(std::vector<double>{5}));
  CHECK_FALSE(coefficient_of_variation(std::vector<double>{0, 0}));
  CHECK_FALSE(coefficient_of_variation(std::vector<double>{1, kNan}));
  const std::vector<std::vector<PromptPair>> repeats = {{{10, 10, 10, 9}}, {{10, 10, 10, 10}}, {{10, 10, 10, 11}}};
  CHECK(*speedup_noise(repeats) == Approx(0.1));
  CHECK_FALSE(speedup_noise(std::span(repeats).first(1)));
  CHECK_FALSE(speedup_noise(std::vector<std::vector<PromptPair>>{{}, {}}));
}

TEST_CASE("a verdict names a difference only where interval and noise allow it") {
  const auto of = [](double value, double low, double high) {
    return Estimate{.value = value, .interval = Interval{low, high}, .samples = 80};
  };
  CHECK(judge(of(1.32, 1.25, 1.39)).verdict == SpeedupVerdict::Faster);
  CHECK(judge(of(1.32, 1.25, 1.39), 0.04).words == "faster: 1.32x, 95 % interval 1.25 to 1.39 over 80 prompts");
  CHECK(judge(of(0.8, 0.7, 0.9), 0.05).verdict == SpeedupVerdict::Slower);
  CHECK(judge(of(1.02, 0.98, 1.06)).verdict == SpeedupVerdict::NoDifferenceShown);
  CHECK(judge(of(1.03, 1.01, 1.05), 0.06).verdict == SpeedupVerdict::NoiseExceedsEffect);
  CHECK(judge(of(1.03, 1.01, 1.05), 0.06).words ==
        "noise exceeds effect: 1.03x, 95 % interval 1.01 to 1.05 over 80 prompts; repeats vary by 6.0 %, the effect is "
        "3.0 %");
  CHECK(judge(of(1.02, 0.98, 1.06), 0.1).verdict == SpeedupVerdict::NoDifferenceShown);
  CHECK(name_of(SpeedupVerdict::NoDifferenceShown) == "no difference shown");
  // What was timed beside others is neither faster nor slower, however clear it looks.
  CHECK(judge(of(5.33, 1.11, 8.56), {}, 0.45).verdict == SpeedupVerdict::UnreliableTiming);
  CHECK(judge(of(0.5, 0.4, 0.6), 0.01, 0.45).words ==
        "unreliable timing: 0.5x, 95 % interval 0.4 to 0.6 over 80 prompts; threads waited 45 % of the time for "
        "processors that others had");
  CHECK(judge(of(1.32, 1.25, 1.39), 0.04, 0.02).verdict == SpeedupVerdict::Faster);
  CHECK(judge(of(1.02, 0.98, 1.06), {}, 0.45).verdict == SpeedupVerdict::NoDifferenceShown);
}

TEST_CASE("nothing is faster or slower below 8 prompts, or where the clock contradicts itself") {
  const auto of = [](int prompts) {
    return Estimate{.value = 1.32, .interval = Interval{1.25, 1.39}, .samples = prompts, .prompts = prompts};
  };
  CHECK(judge(of(8)).wins());
  CHECK_FALSE(judge(of(7)).verdict);
  CHECK(judge(of(7)).words == "not judged: fewer than 8 prompts; 1.32x, 95 % interval 1.25 to 1.39 over 7 prompts");
  Estimate batches = of(7);
  batches.prompts = 28;
  CHECK(judge(batches).words ==
        "not judged: fewer than 8 batches; 1.32x, 95 % interval 1.25 to 1.39 over 7 batches of 28 prompts");
  const Judgement doubtful = unreliable_timing(of(80), "scoring 5 rows took 4x the measured cost");
  CHECK(doubtful.unreliable());
  CHECK_FALSE(doubtful.wins());
  CHECK(doubtful.words == "unreliable timing: scoring 5 rows took 4x the measured cost; measured were 1.32x");
}

TEST_CASE("percentiles are linear between order statistics") {
  CHECK(*percentile({4, 1, 3, 2}, 0) == 1);
  CHECK(*percentile({4, 1, 3, 2}, 0.5) == 2.5);
  CHECK(*percentile({4, 1, 3, 2}, 0.9) == Approx(3.7));
  CHECK(*percentile({4, 1, 3, 2}, 1) == 4);
  CHECK(*percentile({7, kNan}, 0.99) == 7);
  CHECK_FALSE(percentile({}, 0.5));
  std::vector<double> hundred_one;
  for (int i = 0; i <= 100; ++i) hundred_one.push_back(i);
  const Percentiles p = *percentiles(hundred_one);
  CHECK(p.p50 == Approx(50));
  CHECK(p.p90 == Approx(90));
  CHECK(p.p99 == Approx(99));
  CHECK_FALSE(percentiles({kNan}));
}
