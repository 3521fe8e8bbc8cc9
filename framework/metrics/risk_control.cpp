#include "framework/metrics/risk_control.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace foretell::metrics {
namespace {

// Relative entropy of a coin of a to one of b.
double coin_divergence(double a, double b) {
  const auto term = [](double x, double y) { return x > 0 ? x * std::log(x / y) : 0.0; };
  return term(a, b) + term(1 - a, 1 - b);
}

double log_choose(int n, int k) {
  return std::lgamma(n + 1.0) - std::lgamma(k + 1.0) - std::lgamma(static_cast<double>(n - k) + 1.0);
}

}  // namespace

double binomial_cdf(int k, int n, double p) {
  if (k < 0) return 0;
  if (k >= n || p <= 0) return 1;
  if (p >= 1) return 0;
  double sum = 0;
  for (int i = 0; i <= k; ++i) sum += std::exp(log_choose(n, i) + i * std::log(p) + (n - i) * std::log1p(-p));
  return std::min(sum, 1.0);
}

double hoeffding_bentkus_p(double mean_loss, int prompts, double risk) {
  const double hoeffding = std::exp(-prompts * coin_divergence(std::min(mean_loss, risk), risk));
  // A sum of losses that is whole but for rounding is whole.
  const int losses = static_cast<int>(std::ceil(prompts * mean_loss - 1e-9));
  return std::min({1.0, hoeffding, std::numbers::e * binomial_cdf(losses, prompts, risk)});
}

double binomial_p(double mean_loss, int prompts, double risk) {
  return binomial_cdf(static_cast<int>(std::lround(prompts * mean_loss)), prompts, risk);
}

std::optional<int> fixed_sequence(std::span<const double> p_values, double error) {
  const auto stands = std::find_if(p_values.begin(), p_values.end(), [error](double p) { return !(p <= error); });
  const auto passed = static_cast<int>(stands - p_values.begin());
  return passed > 0 ? std::optional(passed - 1) : std::nullopt;
}

int fewest_prompts(double risk, double error) {
  return static_cast<int>(std::ceil(std::log(error) / std::log1p(-risk) - 1e-9));
}

}  // namespace foretell::metrics
