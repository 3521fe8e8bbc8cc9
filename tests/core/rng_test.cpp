#include "framework/core/rng.h"

#include <cmath>
#include <set>

#include "tests/support/catch.h"

namespace foretell {
namespace {

TEST_CASE("Philox gives the published known answers") {
  const auto zero = philox_block({0, 0, 0, 0}, {0, 0});
  CHECK(zero == std::array<std::uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  const auto ones = philox_block({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u});
  CHECK(ones == std::array<std::uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
}

TEST_CASE("every part of the key changes the stream, the same key repeats it") {
  std::set<std::uint64_t> first;
  int keys = 0;
  for (std::uint64_t seed : {0, 1})
    for (std::uint64_t request : {0, 1, 2})
      for (std::uint32_t position : {0, 1, 7})
        for (const RngPurpose purpose : {RngPurpose::Draft, RngPurpose::Verify}) {
          first.insert(PhiloxRng({seed, request, position, purpose}).next());
          ++keys;
        }
  CHECK(static_cast<int>(first.size()) == keys);
  CHECK(PhiloxRng({.seed = 4}).next() == PhiloxRng({.seed = 4}).next());
}

TEST_CASE("uniform numbers are in [0, 1) with the right moments") {
  PhiloxRng rng({.seed = 9});
  double sum = 0, squares = 0;
  for (int i = 0; i < 100000; ++i) {
    const double u = rng.uniform();
    REQUIRE((u >= 0 && u < 1));
    sum += u;
    squares += u * u;
  }
  CHECK(sum / 100000 == Approx(0.5).margin(0.005));
  CHECK(squares / 100000 == Approx(1.0 / 3).margin(0.005));
}

TEST_CASE("a coin is as fine as its probability") {
  // Of 2^20 tosses so many come up that a coin of few bits shows: at 2^-12 it would be heads for all below its smallest
  // step, or never.
  constexpr int kTosses = 1 << 20;
  for (const double probability : {0x1.0p-12, 0x1.8p-9, 0.5 + 0x1.0p-10, 1 - 0x1.0p-12}) {
    PhiloxRng rng({.seed = 3});
    int heads = 0;
    for (int i = 0; i < kTosses; ++i) heads += rng.bernoulli(probability);
    INFO(probability);
    const double mean = kTosses * probability, deviation = std::sqrt(mean * (1 - probability));
    CHECK(std::abs(heads - mean) < 5 * deviation);
  }
  // Down to the last bits of the uniform number behind it.
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const double u = PhiloxRng({.seed = seed}).uniform();
    CHECK_FALSE(PhiloxRng({.seed = seed}).bernoulli(u));
    CHECK(PhiloxRng({.seed = seed}).bernoulli(u + 0x1.0p-53));
  }
}

TEST_CASE("decisions at the edges draw nothing") {
  PhiloxRng a({.seed = 1}), b({.seed = 1});
  CHECK(a.bernoulli(1.0));
  CHECK_FALSE(a.bernoulli(0.0));
  CHECK_FALSE(a.bernoulli(std::nan("")));
  CHECK(a.next() == b.next());
  const double weights[] = {0.0, 2.0, 0.0};
  for (int i = 0; i < 100; ++i) CHECK(a.pick(weights) == 1);
}

}  // namespace
}  // namespace foretell
