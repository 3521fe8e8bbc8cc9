#include "framework/metrics/latency.h"

#include <algorithm>

namespace foretell::metrics {
namespace {

// Calls visit(emission, the one before or nullptr) for those that have a token.
template <class Visit>
void each_visible(Emissions request, Visit visit) {
  const Emission* before = nullptr;
  for (const Emission& emission : request) {
    if (emission.tokens <= 0) continue;
    visit(emission, before);
    before = &emission;
  }
}

double gap(const Emission& emission, const Emission& before) { return static_cast<double>(emission.ns - before.ns); }

struct Sample {
  std::vector<double> values = {};

  void add(std::optional<double> value) {
    if (value) values.push_back(*value);
  }
  void add(const std::vector<double>& more) { values.insert(values.end(), more.begin(), more.end()); }
  std::optional<double> mean() const {
    if (values.empty()) return std::nullopt;
    double total = 0;
    for (const double value : values) total += value;
    return total / static_cast<double>(values.size());
  }
};

}  // namespace

std::vector<Emission> emissions_of(std::int64_t prefill_ns, std::span<const RoundRecord> rounds) {
  std::vector<Emission> emissions;
  std::int64_t now = prefill_ns;
  for (const RoundRecord& round : rounds) {
    now += round.ns.total();
    emissions.push_back({now, round.emitted});
  }
  return emissions;
}

std::optional<double> time_to_first_token(Emissions request) {
  std::optional<double> first;
  each_visible(request, [&](const Emission& emission, const Emission* before) {
    if (!before) first = static_cast<double>(emission.ns);
  });
  return first;
}

std::optional<double> end_to_end_latency(Emissions request) {
  std::optional<double> last;
  each_visible(request, [&](const Emission& emission, const Emission*) { last = static_cast<double>(emission.ns); });
  return last;
}

std::optional<double> time_per_output_token(Emissions request) {
  std::int64_t tokens = 0;
  each_visible(request, [&](const Emission& emission, const Emission*) { tokens += emission.tokens; });
  if (tokens < 2) return std::nullopt;
  return (*end_to_end_latency(request) - *time_to_first_token(request)) / static_cast<double>(tokens - 1);
}

std::vector<double> gaps_per_token(Emissions request) {
  std::vector<double> gaps;
  each_visible(request, [&](const Emission& emission, const Emission* before) {
    if (before) gaps.push_back(gap(emission, *before));
    gaps.insert(gaps.end(), emission.tokens - 1, 0.0);
  });
  return gaps;
}

std::vector<double> gaps_per_round(Emissions request) {
  std::vector<double> gaps;
  each_visible(request, [&](const Emission& emission, const Emission* before) {
    if (before) gaps.push_back(gap(emission, *before));
  });
  return gaps;
}

LatencySummary latency_summary(std::span<const std::vector<Emission>> requests) {
  Sample first, per_token, token_gaps, round_gaps, whole;
  for (const std::vector<Emission>& request : requests) {
    first.add(time_to_first_token(request));
    per_token.add(time_per_output_token(request));
    token_gaps.add(gaps_per_token(request));
    round_gaps.add(gaps_per_round(request));
    whole.add(end_to_end_latency(request));
  }
  return {.time_to_first_token = percentiles(first.values),
          .time_per_output_token = percentiles(per_token.values),
          .gap_per_token = percentiles(token_gaps.values),
          .gap_per_round = percentiles(round_gaps.values),
          .end_to_end = percentiles(whole.values),
          .mean_time_to_first_token = first.mean(),
          .mean_time_per_output_token = per_token.mean(),
          .mean_gap_per_token = token_gaps.mean(),
          .mean_gap_per_round = round_gaps.mean(),
          .mean_end_to_end = whole.mean()};
}

bool meets(Emissions request, const LatencyTargets& targets) {
  const auto within = [](std::optional<double> value, std::optional<double> limit) {
    return !value || !limit || *value <= *limit;
  };
  const std::optional<double> first = time_to_first_token(request);
  return first && within(first, targets.time_to_first_token_ns) &&
         within(time_per_output_token(request), targets.time_per_output_token_ns) &&
         within(end_to_end_latency(request), targets.end_to_end_ns);
}

std::optional<double> goodput(std::span<const std::vector<Emission>> requests, const LatencyTargets& targets,
                              double run_ns) {
  if (!(run_ns > 0)) return std::nullopt;
  const auto good =
      std::count_if(requests.begin(), requests.end(), [&](const auto& request) { return meets(request, targets); });
  return static_cast<double>(good) / (run_ns * 1e-9);
}

}  // namespace foretell::metrics
