#include "framework/core/vocab_ops.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "tests/support/catch.h"

namespace foretell {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

// Around the widths of vectors and blocks.
const std::vector<std::size_t> kLengths = {1, 2, 3, 4, 7, 8, 31, 33, 64, 65, 1023, 1024, 1025, 5000};

std::vector<float> random_logits(std::size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, 4);
  std::vector<float> values(count);
  for (float& x : values) x = normal(generator);
  return values;
}

TEST_CASE("the peak is the highest value at its first place, wherever that is") {
  for (const std::size_t count : kLengths) {
    INFO(count << " values");
    const std::vector<float> values = random_logits(count, static_cast<unsigned>(count));
    for (std::size_t at = 0; at < count; at += std::max<std::size_t>(1, count / 61)) {
      std::vector<float> raised = values;
      raised[at] = 100;
      CHECK(peak_of(raised).index == at);
      raised[count - 1] = 100;
      CHECK(peak_of(raised).index == at);
      CHECK(peak_of(raised).value == 100);
      CHECK_FALSE(peak_of(raised).nan);
      raised[at] = kNan;
      CHECK(peak_of(raised).nan);
    }
    CHECK(peak_of(std::vector<float>(count, -kInfinity)).value == -kInfinity);
    CHECK(peak_of(std::vector<float>(count, kInfinity)).value == kInfinity);
  }
  CHECK(peak_of({}).value == -kInfinity);
}

TEST_CASE("exponentials agree with the library's, hidden logits get nothing") {
  for (const std::size_t count : kLengths) {
    std::vector<float> logits = random_logits(count, 7);
    logits[count / 2] = -kInfinity;
    const double top = 20, factor = 1 / 0.3;
    std::vector<double> out(count);
    exponentials(logits, top, factor, out);
    for (std::size_t i = 0; i < count; ++i) {
      const double expected = std::exp((logits[i] - top) * factor);
      CHECK(std::abs(out[i] - expected) <= 1e-15 * expected);
    }
    CHECK(out[count / 2] == 0.0);
  }
  std::vector<double> ends(3);
  exponentials(std::vector<float>{0.0f, -708.0f, -709.0f}, 0.0, 1.0, ends);
  CHECK(ends[0] == 1.0);
  CHECK(ends[1] == Approx(std::exp(-708.0)).epsilon(1e-14));
  CHECK(ends[2] == 0.0);
}

TEST_CASE("sums, scaling and the positive part agree with one number after the other") {
  for (const std::size_t count : kLengths) {
    const std::vector<float> a = random_logits(count, 1), b = random_logits(count, 2);
    std::vector<double> p(a.begin(), a.end()), q(b.begin(), b.end()), out(count);
    CHECK(sum_of(p) == Approx(std::accumulate(p.begin(), p.end(), 0.0)).margin(1e-9));
    double expected = 0;
    for (std::size_t i = 0; i < count; ++i) expected += std::max(0.7 * p[i] - q[i], 0.0);
    CHECK(positive_part(p, q, 0.7, out) == Approx(expected).margin(1e-9));
    for (std::size_t i = 0; i < count; ++i) CHECK(out[i] == Approx(std::max(0.7 * p[i] - q[i], 0.0)));
    scale(p, 3.0);
    for (std::size_t i = 0; i < count; ++i) CHECK(p[i] == 3.0 * static_cast<double>(a[i]));
  }
}

TEST_CASE("a picked index is where the running sum passes, and never one without weight") {
  for (const std::size_t count : kLengths) {
    std::vector<double> weights(count, 0.0);
    for (std::size_t i = 0; i < count; i += 3) weights[i] = static_cast<double>(i % 5 + 1);
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    for (const double u : {0.0, 1e-9, 0.1, 0.25, 0.5, 0.77, 0.999999, 1 - 0x1.0p-53}) {
      const std::size_t picked = pick_index(weights, u * total);
      REQUIRE(picked < count);
      CHECK(weights[picked] > 0);
      // Whole numbers: these sums are exact.
      const auto end = weights.begin() + static_cast<std::ptrdiff_t>(picked);
      const double before = std::accumulate(weights.begin(), end, 0.0);
      CHECK(before <= u * total);
      CHECK(u * total <= before + weights[picked]);
    }
  }
  std::vector<double> one(3000, 0.0);
  one[1500] = 1e-300;
  CHECK(pick_index(one, 0.0) == 1500);
  CHECK(pick_index(one, 1e-300 * (1 - 0x1.0p-53)) == 1500);
}

}  // namespace
}  // namespace foretell
