#include "framework/moe/expert_load.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "framework/core/error.h"
#include "framework/cost/model_costs.h"

namespace foretell::moe {
namespace {

double ratio(double over, double under) { return under > 0 ? over / under : 0; }

std::optional<double> share(std::int64_t over, std::int64_t under) {
  if (under == 0) return std::nullopt;
  return static_cast<double>(over) / static_cast<double>(under);
}

int entries_of(const LayerExperts& layer) {
  int sum = 0;
  for (const ExpertRows& one : layer.load) sum += one.rows;
  return sum;
}

// Rows that no expert took have no part in it: with fewer rows there are fewer to touch.
double uniform_of(const LayerExperts& layer, int experts) {
  const int taken = layer.rows - layer.dropped;
  return taken > 0 ? cost::expected_experts(experts, static_cast<double>(entries_of(layer)) / taken, taken) : 0;
}

void add(const LayerExperts& layer, int experts, LayerLoad& out) {
  out.layer = layer.layer;
  if (static_cast<int>(out.load.size()) < experts) out.load.resize(static_cast<std::size_t>(experts));
  std::vector<std::int64_t> here(static_cast<std::size_t>(experts));
  for (const ExpertRows& one : layer.load) here.at(static_cast<std::size_t>(one.expert)) += one.rows;
  for (std::size_t i = 0; i < here.size(); ++i) out.load[i] += here[i];
  ++out.rounds;
  out.rows += layer.rows;
  out.dropped += layer.dropped;
  out.pairs += layer.pairs;
  out.shared += layer.shared;
  out.touched += static_cast<double>(layer.load.size());
  out.uniform += uniform_of(layer, experts);
  out.together += layer.together;
  if (const auto statistics = load_statistics(here)) out.max_violation += statistics->max_violation;
}

}  // namespace

std::optional<LoadStatistics> load_statistics(std::span<const std::int64_t> rows) {
  const double sum = std::accumulate(rows.begin(), rows.end(), 0.0);
  if (rows.empty() || sum <= 0) return std::nullopt;
  const auto count = static_cast<double>(rows.size());
  const double mean = sum / count;
  LoadStatistics out;
  double squares = 0, nats = 0;
  for (const std::int64_t n : rows) {
    const auto value = static_cast<double>(n);
    squares += (value - mean) * (value - mean);
    if (n > 0) nats -= value / sum * std::log(value / sum);
    out.dead += n == 0 ? 1 : 0;
  }
  out.max_violation = (static_cast<double>(*std::ranges::max_element(rows)) - mean) / mean;
  out.min_violation = (mean - static_cast<double>(*std::ranges::min_element(rows))) / mean;
  out.variation = std::sqrt(squares / count) / mean;
  out.entropy = rows.size() > 1 ? nats / std::log(count) : 1;
  out.effective = std::exp(nats);
  return out;
}

double LayerLoad::experts_per_row() const {
  return ratio(std::accumulate(load.begin(), load.end(), 0.0), static_cast<double>(rows));
}
std::optional<double> LayerLoad::locality() const {
  return uniform > 0 ? std::optional(touched / uniform) : std::nullopt;
}
std::optional<double> LayerLoad::neighbour_share() const { return share(shared, pairs); }
std::optional<double> LayerLoad::dropped_share() const { return share(dropped, rows); }

std::vector<LayerLoad> layer_loads(std::span<const RoundRecord> rounds) {
  std::map<int, LayerLoad> layers;
  for (const RoundRecord& round : rounds)
    if (round.experts)
      for (const LayerExperts& layer : round.experts->layers) add(layer, round.experts->experts, layers[layer.layer]);
  std::vector<LayerLoad> out;
  for (auto& [number, layer] : layers) {
    for (double* sum : {&layer.touched, &layer.uniform, &layer.together, &layer.max_violation})
      *sum /= static_cast<double>(layer.rounds);
    out.push_back(std::move(layer));
  }
  return out;
}

std::optional<LoadSummary> load_summary(std::span<const LayerLoad> layers) {
  if (layers.empty()) return std::nullopt;
  LoadSummary out;
  std::int64_t rows = 0, dropped = 0, pairs = 0, shared = 0;
  double entries = 0, touched = 0;
  for (const LayerLoad& layer : layers) {
    out.touched += layer.touched;
    out.uniform += layer.uniform;
    out.together += layer.together;
    out.round_max_violation += layer.max_violation;
    entries += std::accumulate(layer.load.begin(), layer.load.end(), 0.0);
    touched += layer.touched * static_cast<double>(layer.rounds);
    rows += layer.rows;
    dropped += layer.dropped;
    pairs += layer.pairs;
    shared += layer.shared;
    const LoadStatistics statistics = load_statistics(layer.load).value_or(LoadStatistics{});
    out.max_violation += statistics.max_violation;
    out.variation += statistics.variation;
    out.entropy += statistics.entropy;
    out.dead += statistics.dead;
  }
  const auto count = static_cast<double>(layers.size());
  for (double* sum : {&out.touched, &out.uniform, &out.together, &out.round_max_violation, &out.max_violation,
                      &out.variation, &out.entropy})
    *sum /= count;
  out.rows_per_expert = ratio(entries, touched);
  if (out.uniform > 0) out.locality = out.touched / out.uniform;
  out.neighbour_share = share(shared, pairs);
  out.dropped_share = share(dropped, rows);
  return out;
}

std::map<int, TouchedByRows> touched_by_rows(std::span<const RoundRecord> rounds) {
  std::map<int, TouchedByRows> out;
  for (const RoundRecord& round : rounds) {
    if (!round.experts) continue;
    for (const LayerExperts& layer : round.experts->layers) {
      TouchedByRows& of = out[layer.rows];
      ++of.rounds;
      of.touched += static_cast<double>(layer.load.size());
      of.uniform += uniform_of(layer, round.experts->experts);
    }
  }
  for (auto& [rows, of] : out) {
    of.touched /= static_cast<double>(of.rounds);
    of.uniform /= static_cast<double>(of.rounds);
  }
  return out;
}

std::optional<double> fitted_experts(double k, double rows, double touched) {
  if (!(k > 0) || !(rows > 1) || touched < k || touched >= k * rows) return std::nullopt;
  // E (1 - (1 - k/E)^t) grows with E, from k at E = k to k t.
  double low = k, high = 2 * k;
  const auto at = [&](double experts) { return experts * -std::expm1(rows * std::log1p(-k / experts)); };
  while (at(high) < touched && high < 1e12) high *= 2;
  for (int i = 0; i < 200 && high - low > 1e-12 * high; ++i) {
    const double middle = (low + high) / 2;
    (at(middle) < touched ? low : high) = middle;
  }
  return high;
}

}  // namespace foretell::moe
