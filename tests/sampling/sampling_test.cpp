#include "framework/sampling/sampling.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "framework/core/error.h"
#include "tests/support/catch.h"

namespace foretell {
namespace {

Distribution distribution_of(const std::vector<float>& logits, const SamplingOptions& options) {
  return Sampler(options, static_cast<int>(logits.size())).distribution(logits);
}

std::vector<double> dense(const Distribution& distribution) {
  std::vector<double> out(static_cast<std::size_t>(distribution.vocab()), 0.0);
  distribution.for_each([&](Token t, double p) { out[static_cast<std::size_t>(t)] = p; });
  return out;
}

std::vector<float> logs(const std::vector<double>& probabilities) {
  std::vector<float> out;
  for (const double p : probabilities) out.push_back(static_cast<float>(std::log(p)));
  return out;
}

TEST_CASE("temperature 0 is a point mass at the lowest id among the highest logits") {
  const Distribution distribution = distribution_of({1, 3, 2, 3}, {.temperature = 0});
  CHECK(distribution.is_point_mass());
  CHECK(distribution.mode() == 1);
}

TEST_CASE("temperature scales logits") {
  const auto p = dense(distribution_of({0, 1, 2}, {.temperature = 0.5}));
  const double z = 1 + std::exp(2) + std::exp(4);
  CHECK(p[2] == Approx(std::exp(4) / z));
  CHECK(p[0] == Approx(1 / z));
}

TEST_CASE("top-k keeps exactly k, the lowest ids among ties") {
  const auto p = dense(distribution_of(logs({0.2, 0.3, 0.3, 0.2}), {.temperature = 1, .top_k = 3}));
  CHECK(p[3] == 0);
  CHECK(p[0] == Approx(0.2 / 0.8));
  CHECK(dense(distribution_of(logs({0.25, 0.25, 0.25, 0.25}), {.temperature = 1, .top_k = 1}))[0] == 1.0);
}

TEST_CASE("top-p keeps the token that crosses it") {
  const auto p = dense(distribution_of(logs({0.5, 0.3, 0.15, 0.05}), {.temperature = 1, .top_p = 0.6}));
  CHECK(p[1] == Approx(0.3 / 0.8));
  CHECK(p[2] == 0);
  const auto one = dense(distribution_of(logs({0.5, 0.3, 0.2}), {.temperature = 1, .top_p = 0.4}));
  CHECK(one[0] == 1.0);
}

TEST_CASE("top-p is measured after top-k, min-p against the highest probability") {
  // After top-k 2 the masses are 0.625 and 0.375, so 0.6 is reached by the first alone.
  const auto p = dense(distribution_of(logs({0.5, 0.3, 0.2}), {.temperature = 1, .top_k = 2, .top_p = 0.6}));
  CHECK(p[0] == 1.0);
  const auto m = dense(distribution_of(logs({0.5, 0.3, 0.2}), {.temperature = 1, .min_p = 0.5}));
  CHECK(m[1] == Approx(0.3 / 0.8));
  CHECK(m[2] == 0);
}

TEST_CASE("top-p on a large vocabulary equals sorting all of it") {
  std::mt19937_64 random(3);
  std::normal_distribution<float> normal(0, 3);
  for (const double top_p : {0.1, 0.5, 0.9, 0.99, 0.9999}) {
    std::vector<float> logits(5000);
    for (float& x : logits) x = normal(random);
    const auto full = dense(distribution_of(logits, {.temperature = 1}));
    std::vector<int> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](int a, int b) { return full[a] > full[b]; });
    double mass = 0;
    std::size_t count = 0;
    while (mass < top_p) mass += full[order[count++]];
    const auto cut = dense(distribution_of(logits, {.temperature = 1, .top_p = top_p}));
    CHECK(std::count_if(cut.begin(), cut.end(), [](double x) { return x > 0; }) == static_cast<long>(count));
    CHECK(cut[order[count - 1]] == Approx(full[order[count - 1]] / mass));
  }
}

// The cuts from their definitions, on all tokens in the order of probability.
std::vector<double> cut_in_full(const std::vector<double>& full, const SamplingOptions& options) {
  std::vector<std::size_t> order(full.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return full[a] > full[b]; });
  if (options.top_k > 0) order.resize(std::min(order.size(), static_cast<std::size_t>(options.top_k)));
  double mass = 0, sum = 0;
  for (const std::size_t t : order) mass += full[t];
  std::size_t count = 0;
  while (count < order.size() && (count == 0 || sum < options.top_p * mass || options.top_p >= 1.0))
    sum += full[order[count++]];
  order.resize(count);
  std::erase_if(order, [&, top = full[order[0]]](std::size_t t) { return full[t] < options.min_p * top; });
  std::vector<double> out(full.size(), 0.0);
  double left = 0;
  for (const std::size_t t : order) left += full[t];
  for (const std::size_t t : order) out[t] = full[t] / left;
  return out;
}

TEST_CASE("all cuts together equal their definitions, with many and with few tokens kept") {
  std::mt19937_64 random(5);
  for (const float spread : {0.1f, 2.0f}) {
    std::normal_distribution<float> normal(0, spread);
    std::vector<float> logits(3000);
    for (float& x : logits) x = normal(random);
    logits[17] = -std::numeric_limits<float>::infinity();
    const auto full = dense(distribution_of(logits, {.temperature = 0.8}));
    for (const int top_k : {0, 1, 40, 1000, 5000}) {
      for (const double top_p : {0.3, 0.9, 1.0}) {
        for (const double min_p : {0.0, 0.02, 0.7}) {
          const SamplingOptions options{.temperature = 0.8, .top_k = top_k, .top_p = top_p, .min_p = min_p};
          INFO(fmt::format("spread {}, top_k {}, top_p {}, min_p {}", spread, top_k, top_p, min_p));
          const auto expected = cut_in_full(full, options), got = dense(distribution_of(logits, options));
          int kept = 0, wrong = 0;
          for (std::size_t t = 0; t < full.size(); ++t) {
            kept += (expected[t] > 0) != (got[t] > 0);
            wrong += std::abs(expected[t] - got[t]) > 1e-12;
          }
          CHECK(kept == 0);
          CHECK(wrong == 0);
        }
      }
    }
  }
}

TEST_CASE("penalties and bias act on logits, by path") {
  SamplingOptions options{.temperature = 0, .repetition_penalty = 2, .presence_penalty = 0.5};
  options.logit_bias = {"3:10"};
  const Sampler sampler(options, 4);
  std::vector<float> logits{4, -4, 1, 0};
  const Tokens prompt{0}, generated{1}, path{2};
  sampler.adjust(logits, {prompt, generated, path});
  CHECK(logits == std::vector<float>{2, -8.5, 0, 10});
}

TEST_CASE("damaged logits are an error, never a token") {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  CHECK_THROWS_WITH(distribution_of({1, nan, 2}, {.temperature = 0}),
                    Catch::Contains("NaN") && Catch::Contains("token 1"));
  CHECK_THROWS_AS(distribution_of({1, nan, 2}, {.temperature = 1}), Error);
  CHECK_THROWS_AS(distribution_of({1, inf}, {.temperature = 1}), Error);
  CHECK_THROWS_AS(distribution_of({-inf, -inf}, {.temperature = 1}), Error);
  CHECK(dense(distribution_of({-inf, 0}, {.temperature = 1}))[1] == 1.0);
}

TEST_CASE("a bias that makes no sense is refused") {
  CHECK_THROWS_WITH(Sampler({.logit_bias = {"7:1"}}, 4), Catch::Contains("outside the vocabulary of 4"));
  CHECK_THROWS_WITH(Sampler({.logit_bias = {"3:1e38"}}, 4), Catch::Contains("from -1000000000 to 1000000000"));
  for (const char* text : {"", "1", "1:", ":2", "a:1", "1:x", "1:2z", "1:inf"})
    CHECK_THROWS_AS(Sampler({.logit_bias = {text}}, 4), Error);
}

Distribution random_distribution(std::mt19937_64& random, int kind) {
  std::uniform_real_distribution<double> uniform(0, 1);
  if (kind == 0) return Distribution::point_mass(5, static_cast<Token>(random() % 5));
  if (kind == 1) return Distribution::sparse(5, {0, 2, 4}, {uniform(random) + 0.1, uniform(random), uniform(random)});
  std::vector<double> weights(5);
  for (double& w : weights) w = uniform(random) + 0.01;
  return Distribution::dense(weights);
}

TEST_CASE("residual, removal and overlap agree with their definitions in every pair of storages") {
  std::mt19937_64 random(5);
  for (int i = 0; i < 300; ++i) {
    const Distribution p = random_distribution(random, i % 3), q = random_distribution(random, (i / 3) % 3);
    double common = 0;
    for (Token t = 0; t < 5; ++t) common += std::min(p[t], q[t]);
    CHECK(overlap(p, q) == Approx(common).margin(1e-12));
    for (const double weight : {1.0, 0.4, 2.5}) {
      double mass = 0;
      for (Token t = 0; t < 5; ++t) mass += std::max(weight * p[t] - q[t], 0.0);
      const Excess got = excess(p, q, weight);
      CHECK(got.mass == Approx(mass).margin(1e-12));
      CHECK(got.distribution.has_value() == (mass > 1e-12));
      for (Token t = 0; got.distribution && t < 5; ++t)
        CHECK((*got.distribution)[t] == Approx(std::max(weight * p[t] - q[t], 0.0) / mass).margin(1e-12));
    }
    const Token gone = static_cast<Token>(random() % 5);
    const auto rest = without(q, gone);
    CHECK(rest.has_value() == (q[gone] < 1));
    for (Token t = 0; rest && t < 5; ++t)
      CHECK((*rest)[t] == Approx(t == gone ? 0.0 : q[t] / (1 - q[gone])).margin(1e-12));
  }
}

TEST_CASE("draws follow the distribution") {
  const Distribution distribution = Distribution::sparse(10, {1, 4, 9}, {0.2, 0.5, 0.3});
  PhiloxRng rng({.seed = 3});
  std::vector<int> seen(10);
  for (int i = 0; i < 30000; ++i) ++seen[static_cast<std::size_t>(distribution.draw(rng))];
  CHECK(seen[1] == Approx(6000).margin(300));
  CHECK(seen[4] == Approx(15000).margin(400));
  CHECK(seen[1] + seen[4] + seen[9] == 30000);
  CHECK(distribution.top(2) == std::vector<Token>{4, 9});
}

TEST_CASE("the highest logits, lowest ids first among equals") {
  const std::vector<float> logits{1, 5, 5, 2};
  CHECK(highest(logits, 3) == std::vector<Token>{1, 2, 3});
  CHECK(highest(logits, 9).size() == 4);
}

TEST_CASE("a temperature below the bound is greedy, and the smallest one above it draws from the nearest logits") {
  const std::vector<float> logits = {1.0f, 3.0f, 2.0f, 3.0f};
  for (const double temperature : {0.0, 1e-320, 1e-6, 9.9e-6}) {
    const Sampler sampler({.temperature = temperature}, 4);
    CHECK(sampler.greedy());
    CHECK(sampler.distribution(logits).mode() == 1);
    CHECK(sampler.distribution(logits)[1] == 1.0);
  }
  const Distribution coldest = Sampler({.temperature = kGreedyBelow}, 4).distribution(logits);
  CHECK(coldest[1] == Approx(0.5));
  CHECK(coldest[3] == Approx(0.5));
  const Distribution hottest = Sampler({.temperature = 1e6}, 4).distribution(logits);
  for (Token t = 0; t < 4; ++t) CHECK(hottest[t] == Approx(0.25).epsilon(1e-5));
}

TEST_CASE("extreme but allowed cuts and penalties leave a distribution") {
  const std::vector<float> logits = {1.0f, 3.0f, 2.0f, -3.0f};
  const auto distribution = [&](const SamplingOptions& options) {
    const Sampler sampler(options, 4);
    std::vector<float> adjusted = logits;
    const Tokens text = {1, 3};
    sampler.adjust(adjusted, {text, text, {}});
    const Distribution out = sampler.distribution(adjusted);
    double mass = 0;
    for (Token t = 0; t < 4; ++t) mass += out[t];
    CHECK(mass == Approx(1.0));
    return out;
  };
  CHECK(distribution({.temperature = 1, .min_p = 1})[1] == 1.0);
  CHECK(distribution({.temperature = 1, .top_p = 1e-9})[1] == 1.0);
  CHECK(distribution({.temperature = 1, .repetition_penalty = 1e-6})[1] == 1.0);
  CHECK(distribution({.temperature = 1, .repetition_penalty = 1e6})[2] > 0.5);
  CHECK(distribution({.temperature = 1, .presence_penalty = 1e6})[1] == 0.0);
  CHECK(distribution({.temperature = 1, .presence_penalty = -1e6})[0] == 0.0);
  CHECK(distribution({.temperature = 1, .logit_bias = {"0:1e9", "0:1e9", "1:-1e9"}})[0] == 1.0);
  CHECK(distribution({.logit_bias = {"0:1e9"}}).mode() == 0);
}

TEST_CASE("logits that nothing can be chosen from say whose they are") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> damaged = {1.0f, nan, 2.0f};
  CHECK_THROWS_WITH(argmax_checked(damaged), Catch::Contains("the model's logits contain NaN (first at token 1 of 3)"));
  try {
    Sampler({.temperature = 1}, 3).distribution(damaged);
    FAIL("NaN was taken");
  } catch (const BadLogits& bad) {
    CHECK_THAT(bad.of("the draft model's").what(), Catch::Contains("the draft model's logits contain NaN"));
  }
}

}  // namespace
}  // namespace foretell
