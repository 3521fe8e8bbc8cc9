#include "framework/core/flat_map.h"

#include <map>

#include "framework/core/rng.h"
#include "tests/support/catch.h"

namespace foretell::testing {
namespace {

TEST_CASE("a flat map holds what a std::map holds after any insertions and erasures") {
  FlatMap<int> flat;
  std::map<std::uint64_t, int> reference;
  PhiloxRng rng({.seed = 3});
  for (int step = 0; step < 20000; ++step) {
    const std::uint64_t key = rng.below(step < 10000 ? 300 : 5000);
    if (rng.below(5) < 3) {
      const auto [value, added] = flat.insert(key, step);
      CHECK(added == reference.emplace(key, step).second);
      REQUIRE(*value == reference.at(key));
    } else {
      REQUIRE(flat.erase(key) == (reference.erase(key) == 1));
    }
    REQUIRE(flat.size() == reference.size());
  }
  for (std::uint64_t key = 0; key < 5000; ++key) {
    const int* found = flat.find(key);
    REQUIRE((found != nullptr) == (reference.count(key) == 1));
    if (found) CHECK(*found == reference.at(key));
  }
  std::size_t visited = 0;
  flat.for_each([&](std::uint64_t key, int value) {
    CHECK(reference.at(key) == value);
    ++visited;
  });
  CHECK(visited == reference.size());
  flat.clear();
  CHECK(flat.find(1) == nullptr);
}

}  // namespace
}  // namespace foretell::testing
