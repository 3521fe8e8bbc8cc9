// Learn then Test: bounds against values worked out by hand, and the guarantee on draws whose truth is known.
#include <cmath>
#include <vector>

#include "framework/core/rng.h"
#include "framework/metrics/risk_control.h"
#include "tests/support/catch.h"

namespace foretell::metrics {
namespace {

TEST_CASE("binomial probabilities are exact", "[risk]") {
  CHECK(binomial_cdf(-1, 5, 0.3) == 0);
  CHECK(binomial_cdf(5, 5, 0.3) == 1);
  CHECK(binomial_cdf(0, 5, 0.3) == Approx(std::pow(0.7, 5)));
  CHECK(binomial_cdf(1, 4, 0.5) == Approx(5.0 / 16));
  CHECK(binomial_cdf(2, 3, 0.1) == Approx(1 - 0.001));
  CHECK(binomial_cdf(50, 1000, 0.5) < 1e-200);
  CHECK(binomial_cdf(3, 10, 0) == 1);
  CHECK(binomial_cdf(3, 10, 1) == 0);
}

TEST_CASE("p-values are those of the formulas", "[risk]") {
  // No loss at all: Hoeffding's bound is (1 - risk)^n.
  CHECK(hoeffding_bentkus_p(0, 30, 0.1) == Approx(std::pow(0.9, 30)));
  CHECK(binomial_p(0, 30, 0.1) == Approx(std::pow(0.9, 30)));
  const double divergence = 0.05 * std::log(0.5) + 0.95 * std::log(0.95 / 0.9);
  CHECK(hoeffding_bentkus_p(0.05, 100, 0.1) ==
        Approx(std::min(std::exp(-100 * divergence), std::exp(1.0) * binomial_cdf(5, 100, 0.1))));
  CHECK(binomial_p(0.05, 100, 0.1) == Approx(binomial_cdf(5, 100, 0.1)));
  CHECK(hoeffding_bentkus_p(0.1, 1000, 0.1) == 1);
  CHECK(hoeffding_bentkus_p(0.9, 1000, 0.1) == 1);
  for (int losses = 1; losses < 40; ++losses)
    CHECK(hoeffding_bentkus_p(losses / 200.0, 200, 0.2) >= hoeffding_bentkus_p((losses - 1) / 200.0, 200, 0.2));
}

TEST_CASE("settings are tested in their order, and none behind the first that fails", "[risk]") {
  CHECK(fixed_sequence(std::vector<double>{0.01, 0.05, 0.04, 0.2, 0.001}, 0.05) == 2);
  CHECK(!fixed_sequence(std::vector<double>{0.06, 0.001}, 0.05));
  CHECK(fixed_sequence(std::vector<double>{0.0, 0.0}, 0.05) == 1);
  CHECK(!fixed_sequence({}, 0.05));
  CHECK(!fixed_sequence(std::vector<double>{std::nan("")}, 0.05));
}

TEST_CASE("fewer prompts than the fewest prove nothing", "[risk]") {
  for (const double risk : {0.01, 0.05, 0.1, 0.3}) {
    const int enough = fewest_prompts(risk, 0.05);
    CHECK(hoeffding_bentkus_p(0, enough, risk) <= 0.05 + 1e-12);
    CHECK(hoeffding_bentkus_p(0, enough - 1, risk) > 0.05);
  }
  CHECK(fewest_prompts(0.1, 0.05) == 29);
}

// Twenty settings whose expected losses rise past the risk, prompts whose losses are alike across settings (one prompt
// is hard for all). How often the chosen setting's expected loss is above the risk.
double broken_promises(bool binary, double error, int rounds, int& chosen_any) {
  constexpr int kSettings = 20, kPrompts = 120;
  constexpr double kRisk = 0.1;
  PhiloxRng rng({.seed = binary ? 11u : 12u});
  int broken = 0;
  chosen_any = 0;
  for (int round = 0; round < rounds; ++round) {
    std::vector<double> sums(kSettings);
    for (int prompt = 0; prompt < kPrompts; ++prompt) {
      const double hardness = rng.uniform();
      for (int setting = 0; setting < kSettings; ++setting) {
        const double expected = 0.01 * (setting + 1);
        // 0 or 1; or uniform on [0, 2 expected]: both have that mean.
        sums[static_cast<std::size_t>(setting)] += binary ? (hardness < expected ? 1 : 0) : 2 * expected * hardness;
      }
    }
    std::vector<double> p;
    for (const double sum : sums)
      p.push_back(binary ? binomial_p(sum / kPrompts, kPrompts, kRisk)
                         : hoeffding_bentkus_p(sum / kPrompts, kPrompts, kRisk));
    const auto chosen = fixed_sequence(p, error);
    if (!chosen) continue;
    ++chosen_any;
    broken += 0.01 * (*chosen + 1) > kRisk + 1e-12;
  }
  return static_cast<double>(broken) / rounds;
}

TEST_CASE("the promise is broken as seldom as stated, and something is chosen", "[risk]") {
  for (const bool binary : {true, false})
    for (const double error : {0.05, 0.2}) {
      constexpr int kRounds = 2000;
      int chosen = 0;
      const double share = broken_promises(binary, error, kRounds, chosen);
      INFO((binary ? "0 or 1, " : "any, ") << error << ": " << share);
      CHECK(share <= error + 3 * std::sqrt(error * (1 - error) / kRounds));
      CHECK(chosen > kRounds * 9 / 10);
    }
}

}  // namespace
}  // namespace foretell::metrics
