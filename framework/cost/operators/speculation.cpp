#include "framework/cost/operators/speculation.h"

#include <algorithm>
#include <numeric>

#include "framework/core/error.h"

namespace foretell::cost::operators {
namespace {

// Which of the parts of a lost step is named: scoring more rows costs more than one row by at least this much.
constexpr double kMuchScoring = 1.25;
constexpr double kMuchDrafting = 0.25;
// Acceptance is the reason where one that good drafters reach would do, and scoring or drafting where it would not.
constexpr double kInReach = 0.8;

ForwardShape shape_of(const SpeculationCase& of) {
  return {.batch = of.batch, .context = of.context, .fused = of.fused, .expanded_cache = of.expanded_cache};
}

// So many nodes of one depth, each behind the context and `depth` ancestors.
ForwardShape level_shape(const SpeculationCase& of, double nodes, std::size_t depth) {
  ForwardShape shape = shape_of(of);
  shape.context += static_cast<double>(depth);
  shape.tree = {nodes};
  shape.logit_rows = nodes;
  return shape;
}

// Each depth but the deepest is passed to find the next one.
template <class Seconds>
double over_levels(const SpeculationCase& of, const Seconds& seconds_of) {
  double seconds = 0;
  for (std::size_t depth = 0; depth + 1 < of.levels.size(); ++depth)
    seconds += seconds_of(level_shape(of, of.levels[depth], depth));
  return seconds;
}

double draft_seconds(const formats::ModelConfig& target, const Hardware& hardware, const DraftSource& source,
                     const SpeculationCase& of) {
  using Kind = DraftSource::Kind;
  switch (source.kind) {
    case Kind::Lookup: return 0;
    case Kind::Model:
      return over_levels(of, [&](const ForwardShape& shape) {
        return forward_operators(*source.model, hardware, of.precision, shape).seconds;
      });
    case Kind::Exit:
      return over_levels(of, [&](ForwardShape shape) {
        shape.layers = source.exit_layer;
        return forward_operators(target, hardware, of.precision, shape).seconds;
      });
    case Kind::Layer:
      return over_levels(of, [&](const ForwardShape& shape) {
        return drafting_layer_operators(target, hardware, of.precision, shape).seconds;
      });
    case Kind::Medusa:
      return medusa_operators(target, hardware, of.precision, of.batch, static_cast<int>(of.levels.size()) - 1).seconds;
  }
  return 0;
}

ForwardOperators verification(const formats::ModelConfig& target, const Hardware& hardware, const DraftSource& source,
                              const SpeculationCase& of) {
  ForwardShape shape = shape_of(of);
  shape.tree = of.levels;
  shape.logit_rows = shape.row_count();
  if (source.kind != DraftSource::Kind::Exit || source.exit_layer == target.num_layers)
    return forward_operators(target, hardware, of.precision, shape);
  shape.first_layer = source.exit_layer;
  ForwardOperators forward = forward_operators(target, hardware, of.precision, shape);
  ForwardShape deepest = level_shape(of, of.levels.back(), of.levels.size() - 1);
  deepest.layers = source.exit_layer;
  deepest.logit_rows = 0;
  forward.seconds += forward_operators(target, hardware, of.precision, deepest).seconds;
  return forward;
}

Bound bound_of(const ForwardOperators& forward) {
  double computing = 0, all = 0;
  for (const OperatorCost& cost : forward.operators) {
    const double seconds = cost.work.layers * cost.seconds;
    all += seconds;
    if (cost.bound == Bound::Compute) computing += seconds;
  }
  return computing > all / 2 ? Bound::Compute : Bound::Memory;
}

void check_case(const DraftSource& source, const SpeculationCase& of) {
  FORETELL_CHECK(of.levels.size() >= 2 && of.levels.front() == 1, "{} levels", of.levels.size());
  const int depth = static_cast<int>(of.levels.size()) - 1;
  if (source.kind == DraftSource::Kind::Medusa && depth > source.heads)
    fail("a draft of {}: expected at most {}", counted(depth, "token"), counted(source.heads, "Medusa head"));
}

}  // namespace

SpeculationCosts speculation_costs(const formats::ModelConfig& target, const Hardware& hardware,
                                   const DraftSource& source, const SpeculationCase& of) {
  check_case(source, of);
  const ForwardOperators plain = forward_operators(target, hardware, of.precision, shape_of(of));
  const ForwardOperators verified = verification(target, hardware, source, of);
  return {.plain = plain.seconds,
          .verify = verified.seconds,
          .draft = draft_seconds(target, hardware, source, of),
          .other = source.other_seconds,
          .verify_bound = bound_of(verified),
          .cache_fraction = plain.total.load_kv_cache / plain.total.memory_access()};
}

Expectation expected_speedup(const formats::ModelConfig& target, const Hardware& hardware, const DraftSource& source,
                             const SpeculationCase& of, const std::vector<double>& acceptance) {
  FORETELL_CHECK(!acceptance.empty(), "no acceptance");
  Expectation out{.costs = speculation_costs(target, hardware, source, of), .prediction = {}};
  const int rows = static_cast<int>(std::accumulate(of.levels.begin(), of.levels.end(), 0.0));
  const int depth = static_cast<int>(of.levels.size()) - 1;
  constexpr double kNanoseconds = 1e9;
  // Behind an early exit verification can be shorter than a plain step, which a RowCosts cannot say: what it takes more
  // or less is one of the plan's other costs.
  const double verify = out.costs.verify;
  const RowCosts costs({{1, out.costs.plain * kNanoseconds}});
  const RoundPlan plan{.shapes = {{.rows = rows, .depth = depth}},
                       .draft_ns = out.costs.draft * kNanoseconds,
                       .other_ns = (out.costs.other + verify - out.costs.plain) * kNanoseconds};
  AcceptanceFacts facts;
  if (acceptance.size() == 1)
    facts.per_level = acceptance.front();
  else
    facts.conditional_per_position = acceptance;
  out.prediction = predict_speedup(costs, plan, facts);
  out.prediction.score_cost = verify / out.costs.plain;
  out.prediction.other_cost = out.costs.other / out.costs.plain;
  const std::vector<double> by_depth =
      acceptance.size() == 1 ? std::vector<double>(static_cast<std::size_t>(depth), acceptance.front()) : acceptance;
  out.tokens = emitted_by(plan, by_depth);
  return out;
}

std::string loss_reason(const Expectation& expectation, const SpeculationCase& of) {
  if (expectation.speedup() > 1) return "";
  const SpeedupPrediction& p = expectation.prediction;
  const double beside = p.draft_cost + p.other_cost;
  if (p.break_even && *p.break_even <= kInReach)
    return fmt::format("acceptance is too low: {:.2f} tokens a step, {:.2f} are needed", expectation.tokens,
                       p.round_cost());
  const std::string most = fmt::format("all tokens accepted would give {:.2f}x", p.oracle);
  if (beside >= kMuchDrafting && beside > p.score_cost - 1)
    return fmt::format("the draft is too expensive: it costs {:.2f} plain steps; {}", beside, most);
  if (p.score_cost >= kMuchScoring && expectation.costs.verify_bound == Bound::Compute)
    return fmt::format(
        "the batch is too large: {:.0f} rows in each of {:.0f} sequences are bound by computing and cost {:.2f} plain "
        "steps; {}",
        p.rows, of.batch, p.score_cost, most);
  return fmt::format(
      "verification is too expensive: {:.0f} rows in each of {:.0f} sequences cost {:.2f} plain steps; {}", p.rows,
      of.batch, p.score_cost, most);
}

}  // namespace foretell::cost::operators
