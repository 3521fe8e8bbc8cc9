#include "framework/cost/predicted_speedup.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "framework/core/error.h"

namespace foretell::cost {
namespace {

double mean_of(std::span<const RoundRecord> rounds, auto field) {
  double total = 0;
  for (const RoundRecord& round : rounds) total += static_cast<double>(field(round));
  return rounds.empty() ? 0.0 : total / static_cast<double>(rounds.size());
}

double other_of(std::span<const RoundRecord> rounds) {
  return mean_of(rounds, [](const RoundRecord& r) { return r.ns.verify + r.ns.commit; });
}

double mean_over(const RoundPlan& plan, auto value) {
  double total = 0;
  for (const RoundShape& shape : plan.shapes) total += shape.share * value(shape);
  return total;
}

std::size_t deepest(const RoundPlan& plan) {
  int depth = 0;
  for (const RoundShape& shape : plan.shapes) depth = std::max(depth, shape.depth);
  return static_cast<std::size_t>(depth);
}

// Entry x: the probability that a round emits x tokens.
std::vector<double> tokens_of_round(const RoundPlan& plan, std::span<const double> conditional) {
  std::vector<double> out(deepest(plan) + 2, 0.0);
  for (const RoundShape& shape : plan.shapes) {
    double reached = shape.share;
    for (int level = 1; level <= shape.depth; ++level) {
      const auto i = static_cast<std::size_t>(level);
      const double next = i <= conditional.size() ? reached * conditional[i - 1] : 0.0;
      out[i] += reached - next;
      reached = next;
    }
    out[static_cast<std::size_t>(shape.depth) + 1] += reached;
  }
  return out;
}

double iid_of(const RoundPlan& plan, double acceptance) {
  return emitted_by(plan, std::vector<double>(deepest(plan), acceptance));
}

std::optional<double> break_even_of(const RoundPlan& plan, double cost) {
  if (iid_of(plan, 1) < cost) return std::nullopt;
  if (iid_of(plan, 0) >= cost) return 0.0;
  double low = 0, high = 1;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (iid_of(plan, middle) < cost ? low : high) = middle;
  }
  return high;
}

// "5", or "4.3" for a mean.
std::string amount_words(double value) {
  return std::abs(value - std::round(value)) < 0.05 ? fmt::format("{:.0f}", value) : fmt::format("{:.1f}", value);
}

std::string cost_words(const SpeedupPrediction& p) {
  std::string words = fmt::format("scoring {} rows costs {:.1f}x one row, drafting {:.1f}x", amount_words(p.rows),
                                  p.score_cost, p.draft_cost);
  if (p.other_cost >= 0.05) words += fmt::format(", the rest {:.1f}x", p.other_cost);
  return words;
}

std::string acceptance_words(const SpeedupPrediction& p) {
  if (!p.break_even) return fmt::format("even full acceptance gives {:.2f}x", p.oracle);
  const std::string needs = fmt::format("needs acceptance {:.2f}", *p.break_even);
  return p.acceptance ? fmt::format("{}, has {:.2f}", needs, *p.acceptance) : needs;
}

}  // namespace

double touched_experts(const RoundRecord& round) {
  if (!round.experts || round.experts->layers.empty()) return 0;
  double sum = 0;
  for (const LayerExperts& layer : round.experts->layers) sum += static_cast<double>(layer.load.size());
  return sum / static_cast<double>(round.experts->layers.size());
}

double RoundPlan::mean_rows() const {
  return mean_over(*this, [](const RoundShape& shape) { return shape.rows; });
}

double RoundPlan::mean_depth() const {
  return mean_over(*this, [](const RoundShape& shape) { return shape.depth; });
}

RoundPlan plan_of(std::span<const RoundRecord> rounds, std::span<const RoundRecord> plain) {
  struct Rounds {
    int count = 0;
    double experts = 0;
  };
  std::map<std::pair<int, int>, Rounds> shapes;  // by rows and depth
  for (const RoundRecord& round : rounds) {
    Rounds& of = shapes[{round.scored, round.depth}];
    ++of.count;
    of.experts += touched_experts(round);
  }
  RoundPlan plan{.draft_ns = mean_of(rounds, [](const RoundRecord& r) { return r.ns.draft; }),
                 .other_ns = other_of(rounds),
                 .plain_other_ns = other_of(plain)};
  for (const auto& [shape, of] : shapes)
    plan.shapes.push_back({.rows = shape.first,
                           .depth = shape.second,
                           .share = of.count / static_cast<double>(rounds.size()),
                           .experts = of.experts / of.count});
  if (plan.shapes.empty()) plan.shapes.emplace_back();
  return plan;
}

double emitted_by(const RoundPlan& plan, std::span<const double> conditional) {
  const std::vector<double> tokens = tokens_of_round(plan, conditional);
  if (plan.answers.empty()) {
    double mean = 0;
    for (std::size_t x = 1; x < tokens.size(); ++x) mean += static_cast<double>(x) * tokens[x];
    return mean;
  }
  // Entry l: the rounds that l tokens need: one, and those for what it leaves.
  std::vector<double> rounds(static_cast<std::size_t>(plan.answers.rbegin()->first) + 1, 0.0);
  for (std::size_t left = 1; left < rounds.size(); ++left) {
    rounds[left] = 1;
    for (std::size_t x = 1; x < std::min(left, tokens.size()); ++x) rounds[left] += tokens[x] * rounds[left - x];
  }
  double all_tokens = 0, all_rounds = 0;
  for (const auto& [length, count] : plan.answers) {
    all_tokens += static_cast<double>(length) * count;
    all_rounds += rounds[static_cast<std::size_t>(length)] * count;
  }
  return all_rounds > 0 ? all_tokens / all_rounds : 1.0;
}

RoundPlan chain_plan(const RowCosts& costs, int depth) {
  return {.shapes = {{.rows = depth + 1, .depth = depth}}, .draft_ns = depth * costs.draft(1)};
}

SpeedupPrediction predict_speedup(const RowCosts& costs, const RoundPlan& plan, const AcceptanceFacts& acceptance) {
  const double one = costs.target(1);
  FORETELL_CHECK(one > 0 && std::isfinite(one), "scoring one row takes {} ns", one);
  SpeedupPrediction out{.rows = plan.mean_rows(), .depth = plan.mean_depth(), .acceptance = acceptance.per_level};
  out.score_cost =
      mean_over(plan, [&](const RoundShape& shape) { return costs.target(shape.rows, shape.experts); }) / one;
  out.draft_cost = plan.draft_ns / one;
  out.other_cost = plan.other_ns / one;
  out.plain_cost = 1 + plan.plain_other_ns / one;
  const double cost = out.round_cost();
  if (acceptance.per_level) out.iid = iid_of(plan, *acceptance.per_level) / cost;
  const std::vector<double>& conditional = acceptance.conditional_per_position;
  if (!conditional.empty()) out.position_wise = emitted_by(plan, conditional) / cost;
  out.oracle = iid_of(plan, 1) / cost;
  out.break_even = break_even_of(plan, cost);
  return out;
}

std::string unpredicted_reason(int sequences, std::optional<double> measured_speedup) {
  const std::string verdict = !measured_speedup ? "not known to win or lose" : *measured_speedup > 1 ? "wins" : "loses";
  return fmt::format(
      "{}: nothing is predicted in batches of {}, whose forwards cost more than as many rows of one sequence", verdict,
      sequences);
}

std::string reason_of(const SpeedupPrediction& p, std::optional<double> measured_speedup) {
  if (p.depth <= 0) return fmt::format("drafts nothing: a round costs {:.2f}x a plain one", p.round_cost());
  const std::optional<double> predicted = p.position_wise ? p.position_wise : p.iid;
  const std::optional<double> decides = measured_speedup ? measured_speedup : predicted;
  std::string verdict = "not known to win or lose";
  if (decides) verdict = *decides > 1 ? "wins" : "loses";
  std::string words = fmt::format("{}: {}; {}", verdict, cost_words(p), acceptance_words(p));
  if (measured_speedup && predicted && (*measured_speedup > 1) != (*predicted > 1))
    words += fmt::format("; by this arithmetic {:.2f}x was to be expected", *predicted);
  return words;
}

}  // namespace foretell::cost
