#include "framework/measurement/measured_costs.h"

#include <algorithm>

#include "framework/measurement/bench_model.h"
#include "framework/metrics/metrics.h"

namespace foretell::measurement {
namespace {

constexpr int kRepeats = 5, kMostRepeats = 40;
constexpr double kBudgetMs = 1500;  // for a small model, whose forwards are short beside a busy machine's slow spells
constexpr int kContext = 64;
constexpr double kLongestMs = 1000;
// With the first count after each at which kernels change or tiles are full: costs jump there, and the drafts of 4, 8
// and 16 tokens land on it.
constexpr int kRowCounts[] = {1, 2, 3, 4, 5, 6, 8, 9, 12, 16, 17, 24, 32, 33, 48, 64, 96, 128};

// Medians, because what they are compared with are whole runs, in which a busy machine has its slow spells too.
std::vector<cost::RowCost> measure(const model::LanguageModel& model, const model::LanguageModel* draft) {
  const int context = row_cost_context(model.config());
  std::vector<int> rows;
  for (const int count : kRowCounts)
    if (count <= model.config().context - context) rows.push_back(count);
  ForwardTimesOptions options{.context = context, .repeats = kRepeats, .longest_ms = kLongestMs, .draft = draft};
  auto times = forward_times_ms(model, rows, options);
  double once = 0;
  for (const auto& of : times) once += 2 * *metrics::median(of);
  rows.resize(times.size());
  if (const int more = std::min(kMostRepeats, static_cast<int>(kBudgetMs / once)) - kRepeats; more > 0) {
    options.repeats = more;
    const auto again = forward_times_ms(model, rows, options);
    for (std::size_t i = 0; i < times.size(); ++i) times[i].insert(times[i].end(), again[i].begin(), again[i].end());
  }
  const std::vector<double> experts = touched_experts(model, rows, context);
  std::vector<cost::RowCost> out;
  out.reserve(times.size());
  for (std::size_t i = 0; i < times.size(); ++i)
    out.push_back({rows[i], *metrics::median(times[i]) * 1e6, experts.empty() ? 0 : experts[i]});
  return out;
}

// Weights of one expert in each layer with experts, by those that every forward reads.
double expert_share(const formats::ModelConfig& config) {
  const formats::MoeConfig& moe = config.moe;
  if (moe.experts == 0) return 0;
  const auto sparse = static_cast<double>(config.num_layers) - static_cast<double>(moe.dense_layers.size());
  const double hidden = config.hidden_size, matrices = config.gated_mlp ? 3 : 2;
  const double heads = static_cast<double>(config.head_dim) * (2.0 * config.num_heads + 2.0 * config.num_kv_heads);
  const double fixed = hidden * (config.num_layers * heads + static_cast<double>(config.vocab_size) +
                                 sparse * (moe.experts + matrices * moe.shared_size) +
                                 (config.num_layers - sparse) * matrices * config.intermediate_size);
  return sparse * matrices * hidden * moe.expert_size / fixed;
}

}  // namespace

int row_cost_context(const formats::ModelConfig& target) { return std::min(kContext, target.context / 2); }

std::shared_ptr<const cost::RowCosts> measure_row_costs(const model::LanguageModel& target,
                                                        const model::LanguageModel* draft) {
  return std::make_shared<cost::RowCosts>(measure(target, draft),
                                          draft ? measure(*draft, nullptr) : std::vector<cost::RowCost>{},
                                          expert_share(target.config()));
}

}  // namespace foretell::measurement
