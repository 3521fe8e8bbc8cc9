#include "framework/cost/model_costs.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "framework/core/error.h"
#include "framework/io/system_file.h"

namespace foretell::cost {
namespace {

double attention_parameters(const ModelShape& s) {
  const double query = static_cast<double>(s.heads) * s.head_dim, key = static_cast<double>(s.kv_heads) * s.head_dim;
  return s.hidden * (2 * query + 2 * key);
}

double expert_parameters(const ModelShape& s) { return (s.gated_mlp ? 3.0 : 2.0) * s.hidden * s.intermediate; }

double router_parameters(const ModelShape& s) {
  return s.experts > 1 ? static_cast<double>(s.hidden) * s.experts : 0.0;
}

// Of one layer, if so many of its experts count beside the shared ones.
double layer_parameters(const ModelShape& s, double experts) {
  return attention_parameters(s) + router_parameters(s) + expert_parameters(s) * (experts + s.shared_experts);
}

double table_parameters(const ModelShape& s) { return static_cast<double>(s.vocab) * s.hidden; }

}  // namespace

double parameter_count(const ModelShape& shape) {
  return shape.layers * layer_parameters(shape, shape.experts) + table_parameters(shape) * (shape.tied_head ? 1 : 2);
}

double active_parameter_count(const ModelShape& shape) {
  return shape.layers * layer_parameters(shape, shape.active_experts) + table_parameters(shape);
}

double stored_weight_bytes(const ModelShape& shape) {
  return shape.layers * layer_parameters(shape, shape.experts) * shape.weight_bytes +
         table_parameters(shape) * (shape.tied_head ? 1 : 2) * shape.head_bytes;
}

double stored_cache_bytes(const ModelShape& shape, double tokens) {
  return 2.0 * shape.layers * shape.kv_heads * shape.head_dim * tokens * shape.cache_bytes;
}

double expected_experts(int experts, double active, double rows) {
  FORETELL_CHECK(experts > 0 && active > 0 && active <= experts, "{} of {} experts", active, experts);
  return experts * (1 - std::pow(1 - active / experts, rows));
}

ForwardCost forward_cost(const ModelShape& shape, double rows, double context, std::optional<double> head_rows,
                         std::optional<double> experts_touched) {
  const double asked = head_rows.value_or(rows);
  const double pairs = rows * context + rows * (rows + 1) / 2;  // of a row and a token that it attends to
  const double per_row = layer_parameters(shape, shape.active_experts);
  const double attention = 4.0 * shape.heads * shape.head_dim * pairs;  // scores, and the sum over values
  const double touched = experts_touched.value_or(expected_experts(shape.experts, shape.active_experts, rows));
  const double table = table_parameters(shape) * shape.head_bytes;
  ForwardCost cost;
  cost.operations = shape.layers * (2 * per_row * rows + attention) + 2 * table_parameters(shape) * asked;
  cost.weight_bytes = shape.layers * layer_parameters(shape, touched) * shape.weight_bytes;
  if (asked > 0) cost.weight_bytes += table;
  if (!shape.tied_head || asked == 0)
    cost.weight_bytes += rows * shape.hidden * shape.head_bytes;  // the rows that are looked up
  cost.cache_read_bytes = stored_cache_bytes(shape, context);
  cost.cache_written_bytes = stored_cache_bytes(shape, rows);
  return cost;
}

std::optional<double> MemoryUse::rest() const {
  if (!process) return std::nullopt;
  return std::max(0.0, *process - weights - caches);
}

std::optional<double> peak_process_bytes(const std::filesystem::path& status) {
  const std::optional<std::string> text = io::read_system_file(status);
  if (!text) return std::nullopt;
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string key, amount, unit;
    if (words >> key >> amount >> unit; key != "VmHWM:" || unit != "kB") continue;
    const auto kibibytes = io::system_number<std::int64_t>(amount);
    if (!kibibytes || *kibibytes < 0) return std::nullopt;
    return static_cast<double>(*kibibytes) * 1024;
  }
  return std::nullopt;
}

}  // namespace foretell::cost
