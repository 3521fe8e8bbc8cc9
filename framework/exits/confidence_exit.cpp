#include "framework/exits/confidence_exit.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/core/vocab_ops.h"

namespace foretell::exits {

void ExitLayers::declare(Parameters& p) {
  p.add("layers", layers, "after how many layers rows may leave, as [4, 8]; none: after any", {.min = 1, .max = 4096});
  where = p.where();
  if (std::adjacent_find(layers.begin(), layers.end(), std::greater_equal<>()) != layers.end())
    throw Error(where, "layers: expected increasing numbers");
}

std::vector<int> ExitLayers::of(int num_layers) const {
  if (!layers.empty()) {
    if (layers.back() >= num_layers)
      fail_at(where, "a row cannot leave after layer {}, the model has {}: expected 1 to {}", layers.back(),
              counted(num_layers, "layer"), num_layers - 1);
    return layers;
  }
  std::vector<int> all(static_cast<std::size_t>(std::max(num_layers - 1, 0)));
  std::iota(all.begin(), all.end(), 1);
  return all;
}

LogitStatistics logit_statistics(std::span<const float> logits) {
  const Peak peak = peak_of(logits);
  FORETELL_CHECK(!peak.nan && !logits.empty(), "logits of {} entries hold NaN", logits.size());
  std::vector<double> weights(logits.size());
  exponentials(logits, peak.value, 1.0, weights);
  const double sum = sum_of(weights);
  double second = 0, mean = 0;  // mean: of the logits below the highest one
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (i != peak.index) second = std::max(second, weights[i]);
    if (weights[i] > 0) mean += weights[i] * (static_cast<double>(logits[i]) - peak.value);
  }
  return {1.0 / sum, second / sum, std::log(sum) - mean / sum, static_cast<Token>(peak.index)};
}

double cosine(std::span<const float> a, std::span<const float> b) {
  double both = 0, first = 0, second = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    both += static_cast<double>(a[i]) * b[i];
    first += static_cast<double>(a[i]) * a[i];
    second += static_cast<double>(b[i]) * b[i];
  }
  return first > 0 && second > 0 ? both / std::sqrt(first * second) : 0.0;
}

}  // namespace foretell::exits
