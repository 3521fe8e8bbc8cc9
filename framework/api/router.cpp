#include "framework/api/router.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace foretell {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();
constexpr double kSmallestSum = 1e-20;  // as in DeepSeek-V3's own code

// Experts outside of the best groups can never be chosen. Some ports give them zero instead, which a negative sum of
// score and bias loses to.
void drop_groups(const ExpertRule& rule, std::vector<double>& wanted) {
  const int size = rule.experts / rule.groups;
  std::vector<double> group_scores;
  for (int group = 0; group < rule.groups; ++group) {
    const std::span<const double> members(wanted.data() + static_cast<std::ptrdiff_t>(group) * size,
                                          static_cast<std::size_t>(size));
    double best = kNever, second = kNever;
    for (const double score : members) {
      second = std::max(second, std::min(best, score));
      best = std::max(best, score);
    }
    group_scores.push_back(best + second);
  }
  std::vector<bool> kept(static_cast<std::size_t>(rule.groups));
  for (const int group : best_experts(group_scores, rule.groups_kept)) kept[static_cast<std::size_t>(group)] = true;
  for (std::size_t i = 0; i < wanted.size(); ++i)
    if (!kept[i / static_cast<std::size_t>(size)]) wanted[i] = kNever;
}

void route_row(const std::vector<double>& scores, std::span<const float> bias, const ExpertRule& rule,
               Routing& routing) {
  std::vector<double> wanted = scores;
  for (std::size_t i = 0; i < bias.size(); ++i) wanted[i] += bias[i];
  if (rule.groups > 1) drop_groups(rule, wanted);
  const std::vector<int> chosen = best_experts(wanted, rule.experts_per_token);
  double sum = 0;
  for (const int expert : chosen) sum += scores[static_cast<std::size_t>(expert)];
  const double scale = rule.scale / (rule.normalised ? sum + kSmallestSum : 1.0);
  for (const int expert : chosen) {
    routing.experts.push_back(expert);
    routing.weights.push_back(static_cast<float>(scores[static_cast<std::size_t>(expert)] * scale));
  }
}

}  // namespace

std::vector<double> gate_scores(std::span<const float> logits, GateScore score) {
  std::vector<double> scores(logits.begin(), logits.end());
  if (score == GateScore::Sigmoid) {
    for (double& value : scores) value = 1 / (1 + std::exp(-value));
    return scores;
  }
  if (score == GateScore::SqrtSoftplus) {
    for (double& z : scores) z = std::sqrt(std::max(z, 0.0) + std::log1p(std::exp(-std::abs(z))));
    return scores;
  }
  const double top = std::ranges::max(scores);
  double sum = 0;
  for (double& value : scores) sum += value = std::exp(value - top);
  for (double& value : scores) value /= sum;
  return scores;
}

std::vector<int> best_experts(std::span<const double> scores, int count) {
  std::vector<int> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  const auto before = [&](int a, int b) {
    const double left = scores[static_cast<std::size_t>(a)], right = scores[static_cast<std::size_t>(b)];
    return left != right ? left > right : a < b;
  };
  std::partial_sort(order.begin(), order.begin() + count, order.end(), before);
  order.resize(static_cast<std::size_t>(count));
  return order;
}

Routing route_by_rule(const RouterRows& rows, const RouterContext& context, const ExpertRule& rule) {
  Routing routing{rule.experts_per_token, {}, {}};
  for (int row = 0; row < rows.rows; ++row)
    route_row(gate_scores(rows.row(row, rule.experts), rule.score), context.selection_bias, rule, routing);
  return routing;
}

void route_allowed(const RouterRows& rows, int row, const RouterContext& context, ExpertRule rule,
                   const std::vector<bool>& allowed, Routing& routing) {
  std::vector<float> bias(context.selection_bias.begin(), context.selection_bias.end());
  bias.resize(allowed.size());
  for (std::size_t i = 0; i < allowed.size(); ++i)
    if (!allowed[i]) bias[i] = static_cast<float>(kNever);
  const auto most = static_cast<int>(std::count(allowed.begin(), allowed.end(), true));
  const int missing = std::max(0, rule.experts_per_token - most);
  rule.experts_per_token -= missing;
  rule.groups = rule.groups_kept = 1;
  route_row(gate_scores(rows.row(row, rule.experts), rule.score), bias, rule, routing);
  routing.experts.insert(routing.experts.end(), static_cast<std::size_t>(missing), -1);
  routing.weights.insert(routing.weights.end(), static_cast<std::size_t>(missing), 0.0f);
}

std::optional<std::string> too_many_experts(int k, int experts) {
  if (k <= experts) return std::nullopt;
  return fmt::format("k: {} of {} experts", k, experts);
}

}  // namespace foretell
