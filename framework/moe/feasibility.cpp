#include "framework/moe/feasibility.h"

#include <fmt/format.h>

#include <algorithm>

namespace foretell::moe {
namespace {

double time_of(const DraftCase& of, double rows) {
  const cost::ForwardCost cost = cost::forward_cost(of.target, rows, of.context);
  // Each sequence has a cache of its own.
  const double bytes = cost.bytes() + cost.cache_read_bytes * (of.batch - 1);
  return of.operations_per_byte ? std::max(bytes, cost.operations / *of.operations_per_byte) : bytes;
}

double emitted(double acceptance, int depth) {
  double sum = 0, reached = 1;
  for (int level = 0; level <= depth; ++level, reached *= acceptance) sum += reached;
  return sum;
}

}  // namespace

Feasibility draft_feasibility(const DraftCase& of) {
  const double plain = time_of(of, of.batch), rows = static_cast<double>(of.batch) * (of.nodes + 1);
  Feasibility out{.score_cost = time_of(of, rows) / plain, .draft_cost = of.depth * of.step_bytes / plain};
  if (of.target.experts > 1) {
    out.experts = cost::expected_experts(of.target.experts, of.target.active_experts, rows);
    out.plain_experts = cost::expected_experts(of.target.experts, of.target.active_experts, of.batch);
  }
  const double needed = out.score_cost + out.draft_cost;
  out.oracle = (of.depth + 1) / needed;
  if (out.oracle < 1) return out;
  double low = 0, high = 1;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (emitted(middle, of.depth) < needed ? low : high) = middle;
  }
  out.break_even = emitted(0, of.depth) >= needed ? 0 : high;
  return out;
}

std::string feasibility_note(const DraftCase& of, const Feasibility& found, double high) {
  if (found.break_even && *found.break_even <= high) return "";
  std::string words =
      fmt::format("scoring {} rows{} costs {:.2f}x one", of.nodes + 1,
                  of.batch > 1 ? fmt::format(" of each of {} sequences", of.batch) : "", found.score_cost);
  if (found.experts > 0)
    words +=
        fmt::format(" ({:.1f} of {} experts instead of {:.1f})", found.experts, of.target.experts, found.plain_experts);
  if (found.draft_cost > 0) words += fmt::format(", drafting {:.2f}x", found.draft_cost);
  if (!found.break_even) return words + fmt::format(": even full acceptance gives {:.2f}x", found.oracle);
  return words + fmt::format(": pays from an acceptance of {:.2f} on", *found.break_even);
}

}  // namespace foretell::moe
