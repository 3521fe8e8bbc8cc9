// How often the interval of a speed-up holds the true one, over prompts as they come: lengths that differ much, gains
// that are skewed or go with the length, slow spells of a machine. The hidden case prints the table of
// docs/reference/metrics.md:
// build/tests/test_metrics "[coverage]"
#include <fmt/format.h>

#include <cmath>
#include <functional>
#include <numbers>
#include <string>
#include <vector>

#include "framework/core/rng.h"
#include "framework/metrics/statistics.h"
#include "tests/support/catch.h"

using namespace foretell;

namespace {

double gauss(PhiloxRng& rng) {
  return std::sqrt(-2 * std::log(1 - rng.uniform())) * std::cos(2 * std::numbers::pi * rng.uniform());
}

// A prompt that takes the baseline `length` and the method `length / gain`, before `slow` of either.
PromptPair simulated(double length, double gain, double slow_method = 1, double slow_baseline = 1) {
  return {.method_tokens = length,
          .method_ns = length / gain * slow_method,
          .baseline_tokens = length,
          .baseline_ns = length * slow_baseline};
}

struct PromptKind {
  const char* name;
  std::function<PromptPair(PhiloxRng&)> draw;
};

const std::vector<PromptKind>& prompt_kinds() {
  static const auto spell = [](PhiloxRng& rng) { return rng.bernoulli(0.1) ? 2.0 : 1.0; };
  static const std::vector<PromptKind> all = {
      {"lengths differ much",
       [](PhiloxRng& rng) { return simulated(std::exp(0.8 * gauss(rng)), std::exp(0.25 * gauss(rng))); }},
      {"lengths are even",
       [](PhiloxRng& rng) { return simulated(std::exp(0.1 * gauss(rng)), std::exp(0.25 * gauss(rng))); }},
      {"a fifth gains threefold",
       [](PhiloxRng& rng) {
         const double length = std::exp(0.5 * gauss(rng));
         return simulated(length, (rng.bernoulli(0.2) ? 3.0 : 1.1) * std::exp(0.1 * gauss(rng)));
       }},
      {"gains are skewed",
       [](PhiloxRng& rng) {
         const double length = std::exp(0.8 * gauss(rng));
         return simulated(length, 0.9 - 0.6 * std::log(1 - rng.uniform()));
       }},
      {"longer answers gain more",
       [](PhiloxRng& rng) {
         const double length = gauss(rng);
         return simulated(std::exp(0.8 * length), std::exp(0.25 * (0.7 * length + 0.714 * gauss(rng))));
       }},
      {"slow spells", [](PhiloxRng& rng) {
         const double length = std::exp(0.5 * gauss(rng)), gain = std::exp(0.15 * gauss(rng)), method = spell(rng);
         return simulated(length, gain, method, spell(rng));
       }}};
  return all;
}

std::vector<PromptPair> prompts_of(const PromptKind& kind, PhiloxRng& rng, int count) {
  std::vector<PromptPair> prompts;
  for (int i = 0; i < count; ++i) prompts.push_back(kind.draw(rng));
  return prompts;
}

// [1] the share of trials.
double coverage(const PromptKind& kind, int prompts, int trials, const BootstrapOptions& options) {
  PhiloxRng many({.seed = 3});
  const double truth = *paired_speedup(prompts_of(kind, many, 400000)).value;
  int covered = 0;
  for (int trial = 0; trial < trials; ++trial) {
    PhiloxRng rng(
        {.seed = 17, .request = static_cast<std::uint64_t>(trial), .position = static_cast<std::uint32_t>(prompts)});
    covered += paired_speedup(prompts_of(kind, rng, prompts), options).interval->contains(truth);
  }
  return static_cast<double>(covered) / trials;
}

}  // namespace

TEST_CASE("the 95 % interval of a speed-up covers the true one about as often as it says, with 6 prompts and more") {
  for (const int prompts : {6, 12, 30}) {
    double mean = 0;
    for (const PromptKind& kind : prompt_kinds()) {
      const double share = coverage(kind, prompts, 150, {.resamples = 200});
      INFO(kind.name << ", " << prompts << " prompts: " << share);
      CHECK(share >= (std::string(kind.name) == "a fifth gains threefold" && prompts < 12 ? 0.78 : 0.86));
      mean += share / static_cast<double>(prompt_kinds().size());
    }
    INFO(prompts << " prompts: " << mean);
    CHECK(mean >= 0.92);
    CHECK(mean <= 0.975);
  }
}

TEST_CASE("coverage of the 95 % interval, as docs/reference/metrics.md has it", "[.][coverage]") {
  std::string heading = "| prompts |";
  for (const PromptKind& kind : prompt_kinds()) heading += fmt::format(" {} |", kind.name);
  fmt::print("{} mean |\n", heading);
  for (const int prompts : {6, 8, 12, 20, 80}) {
    double mean = 0;
    std::string row = fmt::format("| {} |", prompts);
    for (const PromptKind& kind : prompt_kinds()) {
      const double share = 100 * coverage(kind, prompts, 4000, {.resamples = 1000});
      row += fmt::format(" {:.1f} |", share);
      mean += share / static_cast<double>(prompt_kinds().size());
    }
    fmt::print("{} {:.1f} |\n", row, mean);
  }
}
