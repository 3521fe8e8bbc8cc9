// The checkpoint's rule among a part of the experts.
//
// Contract: experts that are not allowed are never chosen; a row has fewer experts than the rule says if fewer are
// allowed. No state.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "framework/api/router.h"

namespace foretell::policies::routing {

// Why rows cannot take `k` of a checkpoint's experts, in the words of the key `k`; none if they can.
inline std::optional<std::string> too_many_experts(int k, int experts) {
  if (k <= experts) return std::nullopt;
  return fmt::format("k: {} of {} experts", k, experts);
}

// Appends the experts of one row: chosen as `rule` says from those that are allowed, by expert. Groups are not asked.
inline void route_allowed(const RouterRows& rows, int row, const RouterContext& context, ExpertRule rule,
                          const std::vector<bool>& allowed, Routing& routing) {
  constexpr float kNever = -std::numeric_limits<float>::infinity();
  std::vector<float> bias(context.selection_bias.begin(), context.selection_bias.end());
  bias.resize(allowed.size());
  for (std::size_t i = 0; i < allowed.size(); ++i)
    if (!allowed[i]) bias[i] = kNever;
  const int most = static_cast<int>(std::count(allowed.begin(), allowed.end(), true));
  rule.groups = rule.groups_kept = 1;
  const int missing = std::max(0, rule.experts_per_token - most);
  rule.experts_per_token -= missing;
  const Routing one =
      route_by_rule({.rows = 1, .logits = rows.row(row, rule.experts)}, {context.layer, rule, bias}, rule);
  routing.experts.insert(routing.experts.end(), one.experts.begin(), one.experts.end());
  routing.weights.insert(routing.weights.end(), one.weights.begin(), one.weights.end());
  routing.experts.insert(routing.experts.end(), static_cast<std::size_t>(missing), -1);
  routing.weights.insert(routing.weights.end(), static_cast<std::size_t>(missing), 0.0f);
}

}  // namespace foretell::policies::routing
