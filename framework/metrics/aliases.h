// What other tools call our metrics, and how theirs differ: for columns that stand beside somebody else's numbers.
//
// Contract: a constant table. A tool can have several names for one metric, and a metric none. `note` says how their
// number differs from ours; empty where the two are the same. docs/reference/metrics.md has the formulas
// and repeats each row of
// this table.
#pragma once

#include <span>
#include <string_view>
#include <vector>

namespace foretell::metrics {

struct MetricAlias {
  std::string_view metric;  // as in docs/reference/metrics.md
  std::string_view tool;    // "vLLM", "llama.cpp", "SGLang", "Spec-Bench", "AIPerf"
  std::string_view theirs;
  std::string_view note;
};

std::span<const MetricAlias> metric_aliases();
std::vector<MetricAlias> aliases_of_metric(std::string_view metric);
// What `tool` calls the metric; nothing if it has none.
std::vector<MetricAlias> aliases_in(std::string_view tool);

}  // namespace foretell::metrics
