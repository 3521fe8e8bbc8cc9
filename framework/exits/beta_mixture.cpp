#include "framework/exits/beta_mixture.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace foretell::exits {

double Beta::density(double x) const {
  const double log_norm = std::lgamma(alpha + beta) - std::lgamma(alpha) - std::lgamma(beta);
  return std::exp(log_norm + (alpha - 1) * std::log(x) + (beta - 1) * std::log1p(-x));
}

Beta fit_beta(std::span<const double> confidences, Beta otherwise) {
  if (confidences.size() < 2) return otherwise;
  std::vector<double> x(confidences.begin(), confidences.end());
  for (double& value : x) value = std::clamp(value, 1e-4, 1 - 1e-4);
  const auto count = static_cast<double>(x.size());
  const double mean = std::accumulate(x.begin(), x.end(), 0.0) / count;
  double variance = 0;
  for (const double value : x) variance += (value - mean) * (value - mean) / count;
  const double scale = variance > 0 ? mean * (1 - mean) / variance - 1 : 0;
  if (!(scale > 0)) return otherwise;
  return {mean * scale, (1 - mean) * scale};
}

double free_threshold(std::span<const Judgement> judgements) {
  constexpr int kPoints = 10;
  constexpr double kLow = 0.3, kHigh = 0.9, kShare = 0.4;
  std::vector<double> by_answer[2];
  for (const Judgement& judged : judgements) by_answer[judged.right ? 1 : 0].push_back(judged.confidence);
  Beta wrong = fit_beta(by_answer[0], {1, 2}), right = fit_beta(by_answer[1], {2, 1});
  if (right.mean() < wrong.mean()) std::swap(right, wrong);
  const auto point = [](int i) { return kLow + (kHigh - kLow) * i / (kPoints - 1); };
  int above = 0;
  for (int i = 0; i < kPoints; ++i) {
    const double high = right.density(point(i)), low = wrong.density(point(i));
    if (high / std::max(high + low, 1e-300) > kShare) ++above;
  }
  return point(std::clamp(kPoints - above, 0, kPoints - 1));
}

}  // namespace foretell::exits
