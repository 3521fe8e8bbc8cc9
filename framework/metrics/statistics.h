// How sure a number is: intervals over prompts, noise over repeats, percentiles, and what may be said of a speed-up.
//
// Contract: pure functions of numbers; the same input and seed give the same result. What cannot be computed is absent,
// with the reason in words, and never 0. The unit of resampling is the prompt: what one prompt cost the method and what
// it cost the baseline are drawn together, because prompts differ from one another far more than two runs of one prompt
// do. Tokens of one prompt depend on one another and are never drawn apart. Prompts that were decoded in one batch
// share its clock: none of them has a time of its own, so the batch is the unit.
//
// Interval: the bootstrap-t (Efron, Tibshirani 1993, "An introduction to the bootstrap", chapter 12), of a ratio on the
// scale of its logarithm, with the jackknife's standard error; each side at least as far out as Student's t with n - 1
// degrees of freedom has it and at most twice as far. Resamples of few prompts know too little of how skewed they are,
// hence the first bound, and where most prompts are alike they find any error, hence the second. Ratio and inverse
// ratio have inverse intervals. docs/reference/metrics.md has its coverage, simulated: 93 to 95 % from 4 prompts on
// in the mean of six kinds of prompts, where 95 % was asked; the percentile bootstrap with Student's levels covered 81
// to 93 %. A speed-up over fewer than kLeastUnits has no interval.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace foretell::metrics {

// Below this number of units a speed-up has no interval: so few do not show how far one of them may be from the others.
constexpr int kLeastUnits = 6;

// What one unit took: a prompt with all its turns, or the prompts of one batch. Times in ns (any unit, if the same in
// all); prefill in or out, but alike on both sides.
struct PromptPair {
  double method_tokens = 0, method_ns = 0;
  double baseline_tokens = 0, baseline_ns = 0;
  int prompts = 1;
};

struct Interval {
  double low = 0, high = 0;
  double confidence = 0.95;
  bool contains(double value) const { return low <= value && value <= high; }
};

struct BootstrapOptions {
  int resamples = 2000;
  double confidence = 0.95;  // in (0, 1)
  std::uint64_t seed = 0;
};

struct Estimate {
  std::optional<double> value = {};
  std::optional<Interval> interval = {};
  int samples = 0;               // units that were used
  int prompts = 0;               // in them; more than samples where batches are the units
  int left_out = 0;              // not finite, negative, or without a time
  std::string no_interval = {};  // why there is none; empty if there is one
};
// "12 prompts", "3 batches of 12 prompts": what was resampled.
std::string units_of(const Estimate& estimate);

// [1] (sum of method tokens / sum of method ns) / (sum of baseline tokens / sum of baseline ns), with its interval over
// prompts. 1 is the baseline's speed. Long prompts weigh more, as they do on a user's clock.
Estimate paired_speedup(std::span<const PromptPair> prompts, const BootstrapOptions& options = {});
// The mean, in the values' own unit, with its interval.
Estimate mean_with_interval(std::span<const double> values, const BootstrapOptions& options = {});

// [1] standard deviation (n - 1) over mean. Absent for fewer than two values, a mean that is not positive, or a value
// that is not finite.
std::optional<double> coefficient_of_variation(std::span<const double> values);
// [1] the coefficient of variation of the speed-up over repeats: entry r has the prompts of repeat r. Absent for fewer
// than two repeats.
std::optional<double> speedup_noise(std::span<const std::vector<PromptPair>> repeats);

// The value below which `share` of the sample lies, linear between the two nearest order statistics (type 7 of Hyndman,
// Fan 1996): of n sorted values the place is (n - 1) share. Values that are not finite are left out; absent if none is
// left. `share` in [0, 1].
std::optional<double> percentile(std::vector<double> sample, double share);

struct Percentiles {
  double p50 = 0, p90 = 0, p99 = 0;
};
std::optional<Percentiles> percentiles(std::vector<double> sample);

enum class SpeedupVerdict { Faster, Slower, NoDifferenceShown, NoiseExceedsEffect, UnreliableTiming };
std::string_view name_of(
    SpeedupVerdict verdict);  // "faster", "slower", "no difference shown", "noise exceeds effect", "unreliable timing"

// What may be said of an interval wherever it is printed; tests/metrics/coverage_test.cpp measures it.
constexpr const char* kCoverageWords =
    "in simulations a 95 % interval held the true value 93 to 95 % of the time, from 6 prompts on";

// Of fewer prompts nothing is said: what so few have in common is more often chance than not.
constexpr int kLeastPrompts = 8;

// [1] The share of the time that threads may wait for a processor which others have, for their times to count
// (framework/measurement/processor_time.h).
constexpr double kMostContention = 0.1;

struct Judgement {
  std::optional<SpeedupVerdict> verdict = {};  // absent without an interval, or for fewer than kLeastPrompts
  std::string words = {};                      // one phrase, with the numbers that it rests on
  bool wins() const { return verdict == SpeedupVerdict::Faster; }
  bool unreliable() const { return verdict == SpeedupVerdict::UnreliableTiming; }
};

// What a speed-up allows to say. No difference is shown where the interval contains 1. Else the noise of one repeat is
// held against the effect, |speed-up - 1|: an interval over prompts does not see what a whole run has in common, a busy
// machine above all. And times of threads that had to wait for processors say nothing about what they computed.
// `noise`: speedup_noise(); `contention`: of the side that had more; both if known.
Judgement judge(const Estimate& speedup, std::optional<double> noise = {}, std::optional<double> contention = {});
// Where the clock contradicts itself (framework/cost/timing_contradiction.h says how), whatever the interval is.
Judgement unreliable_timing(const Estimate& speedup, const std::string& contradiction);

}  // namespace foretell::metrics
