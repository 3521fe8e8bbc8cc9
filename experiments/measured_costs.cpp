#include "experiments/measured_costs.h"

#include <algorithm>
#include <limits>

#include "framework/model/bench_model.h"

namespace foretell {
namespace {

constexpr int kRepeats = 5;
constexpr int kContext = 64;
constexpr double kLongestMs = 1000;
constexpr int kRowCounts[] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128};

std::vector<RowCost> measure(const LanguageModel& model) {
  const int context = std::min(kContext, model.config().context / 2);
  std::vector<int> rows;
  for (const int count : kRowCounts)
    if (count <= model.config().context - context) rows.push_back(count);
  // One forward of each count says where to stop, before any is repeated.
  std::vector<int> affordable;
  for (const int count : rows) {
    affordable.push_back(count);
    if (forward_medians_ms(model, {count}, context, 1).front() > kLongestMs) break;
  }
  std::vector<RowCost> out;
  out.reserve(affordable.size());
  for (const int count : affordable) out.push_back({count, std::numeric_limits<double>::infinity()});
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const std::vector<double> times = forward_medians_ms(model, affordable, context, 1);
    for (std::size_t i = 0; i < out.size(); ++i) out[i].ns = std::min(out[i].ns, times[i] * 1e6);
  }
  return out;
}

}  // namespace

std::shared_ptr<const RowCosts> measure_row_costs(const LanguageModel& target, const LanguageModel* draft) {
  return std::make_shared<RowCosts>(measure(target), draft ? measure(*draft) : std::vector<RowCost>{});
}

}  // namespace foretell
