#include "framework/datasets/datastore.h"

#include <algorithm>
#include <numeric>

#include "framework/core/error.h"
#include "framework/core/rng.h"
#include "tests/model/helpers.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {
namespace {

Tokens random_tokens(std::size_t count, int vocab, std::uint64_t seed) {
  PhiloxRng rng({.seed = seed});
  Tokens tokens;
  while (tokens.size() < count) {
    if (tokens.size() > 40 && rng.below(8) == 0)  // repeats, so that suffixes share long beginnings
      for (std::size_t i = 0, from = rng.below(tokens.size() - 20); i < 20; ++i) tokens.push_back(tokens[from + i]);
    tokens.push_back(static_cast<Token>(rng.below(static_cast<std::uint64_t>(vocab) + 1)));
  }
  tokens.resize(count);
  return tokens;
}

std::vector<std::size_t> sorted_by_comparing(const Tokens& tokens) {
  std::vector<std::size_t> order(tokens.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::lexicographical_compare(tokens.begin() + static_cast<std::ptrdiff_t>(a), tokens.end(),
                                        tokens.begin() + static_cast<std::ptrdiff_t>(b), tokens.end());
  });
  return order;
}

// Vocabularies whose tokens need one, two, three and four bytes, the borders among them.
TEST_CASE("a datastore's suffixes are in the order of their tokens, for tokens of every width") {
  for (const int vocab : {1, 3, 255, 256, 32000, 65535, 65536, 16777215, 16777216, 2000000000}) {
    const Tokens tokens = random_tokens(3000, vocab, static_cast<std::uint64_t>(vocab));
    const Datastore store = Datastore::build(vocab, tokens);
    const auto expected = sorted_by_comparing(tokens);
    REQUIRE(store.size() == tokens.size());
    bool same = true;
    for (std::size_t i = 0; i < expected.size(); ++i)
      same = same && store.suffix(i) == expected[i] && store.token(i) == tokens[i];
    INFO("vocabulary " << vocab);
    CHECK(same);
  }
}

TEST_CASE("a datastore finds every occurrence and nothing else, before and after it was written") {
  const testing::TemporaryFolder folder;
  const auto path = folder.path() / "store";
  const Tokens tokens = random_tokens(2000, 4, 1);
  const Datastore built = Datastore::build(4, tokens);
  built.write(path);
  for (const Datastore& store : {built, Datastore::open(path)}) {
    CHECK(store.vocab() == 4);
    for (std::uint64_t seed = 2; seed < 60; ++seed) {
      const Tokens pattern = random_tokens(1 + seed % 7, 4, seed);
      std::vector<std::size_t> expected, found;
      for (std::size_t i = 0; i + pattern.size() <= tokens.size(); ++i)
        if (std::equal(pattern.begin(), pattern.end(), tokens.begin() + static_cast<std::ptrdiff_t>(i)))
          expected.push_back(i);
      const Datastore::Ranks ranks = store.find(pattern);
      for (std::size_t rank = ranks.first; rank < ranks.last; ++rank) found.push_back(store.suffix(rank));
      std::sort(found.begin(), found.end());
      CHECK(found == expected);
    }
    CHECK(store.find({}).count() == tokens.size());
  }
}

TEST_CASE("a datastore that is not what it says is refused, with the file's name") {
  const testing::TemporaryFolder folder;
  const auto path = folder.path() / "store";
  Datastore::build(5, Tokens{1, 2, 5, 1, 2, 3}).write(path);
  const std::string good = testing::read_file(path);
  const auto refusal = [](const std::string& bytes) -> std::string {
    try {
      Datastore::parse(testing::bytes_of(bytes), "x.store");
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const auto changed = [&](std::size_t at, std::int32_t value) {
    std::string bytes = good;
    std::memcpy(bytes.data() + at, &value, sizeof(value));
    return bytes;
  };
  CHECK(refusal(good).empty());
  CHECK(refusal("") == "x.store: has 0 bytes; a datastore has at least 24");
  CHECK_THAT(refusal("not a datastore, but text"), Catch::Contains("does not start with \"foredata\""));
  CHECK_THAT(refusal(changed(8, 2)), Catch::Contains("version 2; expected 1"));
  CHECK_THAT(refusal(changed(12, 0)), Catch::Contains("vocabulary has 0 tokens"));
  CHECK_THAT(refusal(changed(12, -1)), Catch::Contains("vocabulary has 4294967295 tokens"));
  CHECK_THAT(refusal(changed(16, 0)), Catch::Contains("holds 0 tokens"));
  CHECK_THAT(refusal(changed(16, 7)), Catch::Contains("its 7 tokens need 80"));
  CHECK_THAT(refusal(changed(20, 1)), Catch::Contains("tokens; expected"));
  CHECK_THAT(refusal(good.substr(0, good.size() - 1)), Catch::Contains("has 71 bytes; its 6 tokens need 72"));
  CHECK_THAT(refusal(changed(24, 6)), Catch::Contains("token 0 is 6, outside of the vocabulary of 5"));
  CHECK_THAT(refusal(changed(28, -1)), Catch::Contains("token 1 is -1"));
  CHECK_THAT(refusal(changed(48, 6)), Catch::Contains("suffix 0 starts at 6, outside of the 6 tokens"));
  CHECK_THAT(refusal(changed(48, -3)), Catch::Contains("suffix 0 starts at -3"));
  CHECK_THAT(refusal(changed(52, 3)), Catch::Contains("suffixes 0 and 1 both start at 3"));
  CHECK_THAT(refusal(changed(24, 4)), Catch::Contains("are not in order"));
  CHECK_THROWS_WITH(Datastore::build(5, {}), "a datastore needs at least one token");
}

}  // namespace
}  // namespace foretell
