#include <map>

#include "drafters/ngram_cache.h"
#include "drafters/ngram_mod.h"
#include "tests/drafters/helpers.h"
#include "tests/support/catch.h"

namespace foretell::testing {
namespace {

TEST_CASE("n-gram counts are those of brute force") {
  const Tokens text = random_text(400, 3, 5);
  NgramCounts counts(1000000);
  for (std::size_t end = 2; end <= text.size(); ++end) counts.add(TokenSpan(text).first(end));
  for (int n = 1; n <= NgramCounts::kLongest; ++n)
    for (std::size_t at = static_cast<std::size_t>(n); at < text.size(); ++at) {
      const TokenSpan ngram = TokenSpan(text).subspan(at - static_cast<std::size_t>(n), static_cast<std::size_t>(n));
      std::map<Token, int> followers;
      int total = 0;
      for (std::size_t i = static_cast<std::size_t>(n); i < text.size(); ++i) {
        if (!std::equal(ngram.begin(), ngram.end(), text.begin() + static_cast<std::ptrdiff_t>(i) - n)) continue;
        ++followers[text[i]];
        ++total;
      }
      const auto found = counts.find(ngram, n);
      REQUIRE(found);
      CHECK(found->total == total);
      CHECK(followers.at(found->token) == found->count);
      for (const auto& [token, count] : followers) CHECK(count <= found->count);
    }
}

TEST_CASE("n-gram counts stay within their bound and keep what is frequent") {
  NgramCounts counts(200);
  const Tokens frequent = {1, 2, 3, 4, 5, 6};
  for (int i = 0; i < 500; ++i) {
    for (const Tokens& text : {frequent, random_text(6, 60, static_cast<std::uint64_t>(i))})
      for (std::size_t end = 2; end <= text.size(); ++end) counts.add(TokenSpan(text).first(end));
    REQUIRE(counts.pairs() <= 200);
  }
  REQUIRE(counts.find(frequent, 4) == std::nullopt);
  const auto found = counts.find(TokenSpan(frequent).first(5), 4);
  REQUIRE(found);
  CHECK(found->token == 6);
}

TEST_CASE("ngram_cache follows n-grams that are frequent and sure enough") {
  DrafterBench bench("{type: ngram_cache, num_speculative_tokens: 3}");
  bench.begin(0, {1, 2, 3, 4, 5, 9, 9, 2, 3, 4});
  CHECK(chain_of(bench.draft(0)) == Tokens{5, 9, 9});  // three tokens seen once are enough, one is not
  CHECK(chain_of(bench.draft(0, {1, 9, 1})).size() == 1);
  bench.commit(0, {7, 3});
  CHECK(chain_of(bench.draft(0)) ==
        Tokens{4, 7, 3});  // 3 was followed by 4 twice; half of what followed 3 4 is enough, the later half
  bench.commit(0, {30});
  CHECK(bench.draft(0).size() == 1);
  // Of what followed 1 half is 2, which is not sure enough for a single token; of what followed 1 in the other text it
  // is three quarters.
  bench.begin(1, {10, 1, 2, 11, 1, 2, 12, 1, 3, 13, 1, 4, 14, 1});
  CHECK(bench.draft(1).size() == 1);
  bench.begin(2, {10, 1, 2, 11, 1, 2, 12, 1, 2, 13, 1, 4, 14, 1});
  CHECK(chain_of(bench.draft(2)).at(0) == 2);
}

TEST_CASE("ngram_cache needs stronger evidence from past outputs") {
  for (const int times : {1, 2}) {
    DrafterBench bench("ngram_cache"), alone("{type: ngram_cache, past_requests: false}");
    for (DrafterBench* each : {&bench, &alone}) {
      for (int i = 0; i < times; ++i) {
        each->begin(0, {50});
        each->commit(0, {1, 2, 3, 4, 5, 6});
        each->end(0);
      }
      each->begin(1, {40, 1, 2, 3});
    }
    CHECK(chain_of(bench.draft(1)) == (times == 1 ? Tokens{} : Tokens{4, 5, 6}));
    CHECK(alone.draft(1).size() == 1);
  }
  CHECK_THROWS_WITH(DrafterBench("{type: ngram_cache, min_counts: [1, 2]}"),
                    Catch::Matchers::Contains("2 values, expected 4"));
}

TEST_CASE("the n-gram pool finds what was put last, and no other n-gram's token") {
  NgramPool pool(10);
  const Tokens a = {1, 2, 3}, b = {1, 2, 4};
  CHECK(!pool.get(a));
  pool.put(a, 5);
  pool.put(a, 6);
  CHECK(pool.get(a) == 6);
  CHECK(!pool.get(b));
  for (std::uint64_t seed = 0; seed < 5000; ++seed) pool.put(random_text(3, 1000, seed), 7);
  CHECK(pool.entries() == 1024);
  pool.put(b, 8);
  CHECK(pool.get(b) == 8);
}

TEST_CASE("ngram_mod chains what any request put into the pool") {
  DrafterBench bench("{type: ngram_mod, ngram_size: 2, num_speculative_tokens: 4, min_draft: 2}");
  bench.begin(0, {1, 2, 3});
  bench.commit(0, {4, 5});
  bench.end(0);
  bench.begin(1, {30, 31, 1, 2});
  CHECK(chain_of(bench.draft(1)) == Tokens{3, 4, 5});
  CHECK(bench.draft(1, {1, 4, 1}).size() == 1);  // fewer than min_draft
  bench.commit(1, {3, 4});
  CHECK(bench.draft(1).size() == 1);
  bench.begin(2, {1});
  CHECK(bench.draft(2).size() == 1);
  CHECK_THROWS_WITH(DrafterBench("{type: ngram_mod, min_draft: 20}"),
                    Catch::Matchers::Contains("min_draft 20 is above"));
}

}  // namespace
}  // namespace foretell::testing
