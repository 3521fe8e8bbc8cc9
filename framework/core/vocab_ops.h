// Passes over rows as long as a vocabulary, in the instructions of the processor at hand.
//
// Contract: pure functions without allocation. Sums are taken in an order that the length alone decides.
#pragma once

#include <cstddef>
#include <limits>
#include <span>

namespace foretell {

constexpr std::size_t kRowBlock = 1024;  // entries that are looked at together

struct Peak {
  float value = -std::numeric_limits<float>::infinity();
  std::size_t index = 0;  // the first of equals
  bool nan = false;       // there is one; then the rest says nothing
};
Peak peak_of(std::span<const float> values);

double sum_of(std::span<const double> values);

void scale(std::span<double> values, double factor);

// out[i] = exp((logits[i] - top) * factor) to two units in the last place, where no exponent is positive; 0 where it is
// below -708.
void exponentials(std::span<const float> logits, double top, double factor, std::span<double> out);

// out[i] = max(weight * p[i] - q[i], 0); returns their sum. `out` may be p.
double positive_part(std::span<const double> p, std::span<const double> q, double weight, std::span<double> out);

// The first i whose weights up to it sum to more than `mass`, 0 <= mass < sum(weights); never one without weight. At
// least one is positive.
std::size_t pick_index(std::span<const double> weights, double mass);

}  // namespace foretell
