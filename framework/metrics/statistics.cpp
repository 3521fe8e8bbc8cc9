#include "framework/metrics/statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

#include "framework/core/error.h"
#include "framework/core/rng.h"
#include "framework/core/text.h"

namespace foretell::metrics {
namespace {

constexpr double kFarthest = 2;               // of the bootstrap-t, in quantiles of Student's t
constexpr std::size_t kMostResampled = 1000;  // samples: the two agree there

// Student's t: the probability of [-t, t]. Finite sums for whole degrees of freedom (Abramowitz, Stegun 1964, 26.7.3
// and 26.7.4).
double student_within(double t, int freedom) {
  const double angle = std::atan(t / std::sqrt(freedom)), cosine2 = std::cos(angle) * std::cos(angle);
  const bool odd = freedom % 2 == 1;
  double term = odd ? std::cos(angle) : 1.0, sum = freedom > 1 ? term : 0.0;
  for (int i = odd ? 3 : 2; i + 2 <= freedom; i += 2) {
    term *= cosine2 * (i - 1) / i;
    sum += term;
  }
  return odd ? 2 / std::numbers::pi * (angle + std::sin(angle) * sum) : std::sin(angle) * sum;
}

// The t of which [-t, t] has the given probability; it rises in both directions of the bisection.
double student_quantile(double within, int freedom) {
  double low = 0, high = 1;
  while (student_within(high, freedom) < within && high < 1e12) high *= 2;
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    (student_within(middle, freedom) < within ? low : high) = middle;
  }
  return high;
}

double sorted_percentile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  if (below + 1 >= sorted.size()) return sorted.back();
  return sorted[below] + (sorted[below + 1] - sorted[below]) * (place - static_cast<double>(below));
}

std::vector<double> finite_sorted(std::vector<double> sample) {
  std::erase_if(sample, [](double value) { return !std::isfinite(value); });
  std::sort(sample.begin(), sample.end());
  return sample;
}

template <std::size_t Columns>
using Row = std::array<double, Columns>;

template <std::size_t Columns>
void add(Row<Columns>& sums, const Row<Columns>& row) {
  for (std::size_t c = 0; c < Columns; ++c) sums[c] += row[c];
}

// The standard error of a statistic of column sums: how it changes where one row after the other is left out.
template <std::size_t Columns, class Statistic>
double jackknife_error(std::span<const Row<Columns>* const> rows, const Row<Columns>& sums, Statistic statistic) {
  const auto n = static_cast<double>(rows.size());
  double mean = 0, squares = 0, count = 0;
  for (const Row<Columns>* row : rows) {
    Row<Columns> others = sums;
    for (std::size_t c = 0; c < Columns; ++c) others[c] -= (*row)[c];
    const double value = statistic(others), step = value - mean;
    mean += step / ++count;
    squares += step * (value - mean);
  }
  return std::sqrt((n - 1) / n * squares);
}

struct Reach {
  double below = 0, above = 0;  // how far an interval goes, in standard errors
};

// The bootstrap-t's, but for its bounds.
template <std::size_t Columns, class Statistic>
Reach resampled_reach(const std::vector<Row<Columns>>& rows, double value, double student, Statistic statistic,
                      const BootstrapOptions& options) {
  // Results are resampled apart from all that was drawn to get them, so any purpose will do.
  PhiloxRng rng({.seed = options.seed, .request = 0, .position = 0, .purpose = RngPurpose::Workload});
  const double farthest = kFarthest * student;
  std::vector<double> distances(options.resamples);
  std::vector<const Row<Columns>*> drawn(rows.size());
  for (double& distance : distances) {
    Row<Columns> sums{};
    for (const Row<Columns>*& row : drawn) {
      row = &rows[rng.below(rows.size())];
      add(sums, *row);
    }
    const double away = statistic(sums) - value, error = jackknife_error<Columns>(drawn, sums, statistic);
    distance = std::isfinite(away) && away != 0 ? std::clamp(away / error, -farthest, farthest) : 0;
    if (std::isnan(distance)) distance = away > 0 ? farthest : -farthest;
  }
  std::sort(distances.begin(), distances.end());
  const double tail = (1 - options.confidence) / 2;
  return {sorted_percentile(distances, 1 - tail), -sorted_percentile(distances, tail)};
}

// A statistic of column sums, and its interval; both on the scale on which its errors are even.
template <std::size_t Columns, class Statistic>
Estimate bootstrap(const std::vector<Row<Columns>>& rows, Statistic statistic, const BootstrapOptions& options) {
  FORETELL_CHECK(options.resamples > 0, "{} resamples", options.resamples);
  FORETELL_CHECK(options.confidence > 0 && options.confidence < 1, "confidence {}", options.confidence);
  Estimate out{.samples = static_cast<int>(rows.size())};
  Row<Columns> sums{};
  std::vector<const Row<Columns>*> all;
  for (const Row<Columns>& row : rows) {
    add(sums, row);
    all.push_back(&row);
  }
  const double value = rows.empty() ? std::numeric_limits<double>::quiet_NaN() : statistic(sums);
  if (std::isfinite(value)) out.value = value;
  if (rows.size() < 2) {
    out.no_interval =
        fmt::format("an interval needs at least 2 samples, there {} {}", rows.size() == 1 ? "is" : "are", rows.size());
    return out;
  }
  const double error = jackknife_error<Columns>(all, sums, statistic);
  if (!out.value || !std::isfinite(error)) {
    out.no_interval = "too few samples have a token";
    return out;
  }
  const double student = student_quantile(options.confidence, static_cast<int>(rows.size()) - 1);
  Reach reach;
  // Two rows have no resample besides themselves, and many need none.
  if (rows.size() > 2 && rows.size() <= kMostResampled && error > 0)
    reach = resampled_reach(rows, value, student, statistic, options);
  out.interval = Interval{value - error * std::max(reach.below, student),
                          value + error * std::max(reach.above, student), options.confidence};
  return out;
}

bool amount(double value) { return std::isfinite(value) && value >= 0; }

bool is_usable(const PromptPair& p) {
  return amount(p.method_tokens) && amount(p.baseline_tokens) && amount(p.method_ns) && amount(p.baseline_ns) &&
         p.method_ns > 0 && p.baseline_ns > 0;
}

std::vector<Row<4>> usable(std::span<const PromptPair> prompts) {
  std::vector<Row<4>> rows;
  for (const PromptPair& p : prompts)
    if (is_usable(p)) rows.push_back({p.method_tokens, p.method_ns, p.baseline_tokens, p.baseline_ns});
  return rows;
}

double speed_ratio(const Row<4>& sums) { return (sums[0] / sums[1]) / (sums[2] / sums[3]); }
double log_speed_ratio(const Row<4>& sums) { return std::log(speed_ratio(sums)); }

std::string interval_words(const Estimate& speedup) {
  return fmt::format("{:.0f} % interval {:.3g} to {:.3g} over {}", 100 * speedup.interval->confidence,
                     speedup.interval->low, speedup.interval->high, units_of(speedup));
}

}  // namespace

Estimate paired_speedup(std::span<const PromptPair> prompts, const BootstrapOptions& options) {
  const std::vector<Row<4>> rows = usable(prompts);
  Estimate out = bootstrap(rows, log_speed_ratio, options);
  Row<4> sums{};
  for (const Row<4>& row : rows) add(sums, row);
  out.value = std::isfinite(speed_ratio(sums)) ? std::optional(speed_ratio(sums)) : std::nullopt;
  if (out.interval)
    out.interval = Interval{std::exp(out.interval->low), std::exp(out.interval->high), out.interval->confidence};
  out.left_out = static_cast<int>(prompts.size() - rows.size());
  for (const PromptPair& p : prompts) out.prompts += is_usable(p) ? p.prompts : 0;
  if (out.samples == 1 && out.prompts > 1)
    out.no_interval = fmt::format("all {} ran in one batch, which is one sample", counted(out.prompts, "prompt"));
  else if (out.samples < kLeastUnits)
    out.no_interval =
        fmt::format("an interval needs at least {} {}, there {} {}", kLeastUnits,
                    out.prompts > out.samples ? "batches" : "prompts", out.samples == 1 ? "is" : "are", units_of(out));
  if (!out.no_interval.empty()) out.interval.reset();
  return out;
}

std::string units_of(const Estimate& estimate) {
  const std::string prompts = counted(std::max(estimate.prompts, estimate.samples), "prompt");
  return estimate.prompts <= estimate.samples ? prompts
                                              : counted(estimate.samples, "batch", "batches") + " of " + prompts;
}

Estimate mean_with_interval(std::span<const double> values, const BootstrapOptions& options) {
  std::vector<Row<2>> rows;
  for (const double value : values)
    if (std::isfinite(value)) rows.push_back({value, 1});
  Estimate out = bootstrap(
      rows, [](const Row<2>& sums) { return sums[0] / sums[1]; }, options);
  out.left_out = static_cast<int>(values.size() - rows.size());
  out.prompts = out.samples;
  return out;
}

std::optional<double> coefficient_of_variation(std::span<const double> values) {
  if (values.size() < 2) return std::nullopt;
  const auto n = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  const double variation = std::sqrt(squares / (n - 1)) / mean;
  if (!(mean > 0) || !std::isfinite(variation)) return std::nullopt;
  return variation;
}

std::optional<double> speedup_noise(std::span<const std::vector<PromptPair>> repeats) {
  std::vector<double> speedups;
  for (const std::vector<PromptPair>& prompts : repeats) {
    Row<4> sums{};
    for (const Row<4>& row : usable(prompts)) add(sums, row);
    speedups.push_back(speed_ratio(sums));
  }
  return coefficient_of_variation(speedups);
}

std::optional<double> percentile(std::vector<double> sample, double share) {
  FORETELL_CHECK(share >= 0 && share <= 1, "share {}", share);
  sample = finite_sorted(std::move(sample));
  if (sample.empty()) return std::nullopt;
  return sorted_percentile(sample, share);
}

std::optional<Percentiles> percentiles(std::vector<double> sample) {
  sample = finite_sorted(std::move(sample));
  if (sample.empty()) return std::nullopt;
  return Percentiles{sorted_percentile(sample, 0.5), sorted_percentile(sample, 0.9), sorted_percentile(sample, 0.99)};
}

std::string_view name_of(SpeedupVerdict verdict) {
  switch (verdict) {
    case SpeedupVerdict::Faster: return "faster";
    case SpeedupVerdict::Slower: return "slower";
    case SpeedupVerdict::NoDifferenceShown: return "no difference shown";
    case SpeedupVerdict::NoiseExceedsEffect: return "noise exceeds effect";
    case SpeedupVerdict::UnreliableTiming: return "unreliable timing";
  }
  return "";
}

Judgement judge(const Estimate& speedup, std::optional<double> noise, std::optional<double> contention) {
  if (!speedup.value) return {{}, "not judged: no prompt was timed on both sides"};
  if (!speedup.interval) return {{}, fmt::format("not judged: {}", speedup.no_interval)};
  const double effect = std::abs(*speedup.value - 1);
  const std::string numbers = fmt::format("{:.3g}x, {}", *speedup.value, interval_words(speedup));
  if (speedup.samples < kLeastPrompts)
    return {{},
            fmt::format("not judged: fewer than {} {}; {}", kLeastPrompts,
                        speedup.prompts > speedup.samples ? "batches" : "prompts", numbers)};
  SpeedupVerdict verdict = speedup.interval->low > 1 ? SpeedupVerdict::Faster : SpeedupVerdict::Slower;
  std::string remark;
  if (speedup.interval->contains(1))
    verdict = SpeedupVerdict::NoDifferenceShown;
  else if (noise && *noise > effect)
    verdict = SpeedupVerdict::NoiseExceedsEffect;
  else if (contention && *contention > kMostContention)
    verdict = SpeedupVerdict::UnreliableTiming;
  if (noise && *noise > effect)
    remark = fmt::format("; repeats vary by {:.1f} %, the effect is {:.1f} %", 100 * *noise, 100 * effect);
  if (contention && *contention > kMostContention)
    remark += fmt::format("; threads waited {:.0f} % of the time for processors that others had", 100 * *contention);
  return {verdict, fmt::format("{}: {}{}", name_of(verdict), numbers, remark)};
}

Judgement unreliable_timing(const Estimate& speedup, const std::string& contradiction) {
  const std::string value = speedup.value ? fmt::format("; measured were {:.3g}x", *speedup.value) : "";
  return {SpeedupVerdict::UnreliableTiming,
          fmt::format("{}: {}{}", name_of(SpeedupVerdict::UnreliableTiming), contradiction, value)};
}

}  // namespace foretell::metrics
