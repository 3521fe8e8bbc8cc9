#include "experiments/report/aliases.h"

#include <map>

#include "experiments/report/report_files.h"
#include "framework/metrics/aliases.h"

namespace foretell::report {
namespace {

// Where a column is not called as its metric is.
std::string column_of(std::string_view metric) {
  static const std::map<std::string_view, std::string> other = {
      {"time_to_first_token", "ttft_ms"},
      {"time_per_output_token", "tpot_ms"},
      {"gap_per_token", "itl_ms"},
      {"gap_per_round", "round_gap_ms"},
      {"end_to_end_latency", "e2e_ms"},
      {"goodput", "goodput_per_second"},
      {"acceptance_rate_per_position", "acceptance_rate_at"},
      {"conditional_acceptance_per_position", "conditional_acceptance_at"}};
  const auto found = other.find(metric);
  return found == other.end() ? std::string(metric) : found->second;
}

}  // namespace

std::string aliases_csv() {
  std::string out = "measure,column,tool,their_name,note\n";
  for (const metrics::MetricAlias& alias : metrics::metric_aliases()) {
    out += csv_field(std::string(alias.metric)) + "," + csv_field(column_of(alias.metric)) + "," +
           csv_field(std::string(alias.tool));
    out += "," + csv_field(std::string(alias.theirs)) + "," + csv_field(std::string(alias.note)) + "\n";
  }
  return out;
}

}  // namespace foretell::report
