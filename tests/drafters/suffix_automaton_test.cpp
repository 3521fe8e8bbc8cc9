#include "drafters/suffix_automaton.h"

#include <algorithm>
#include <map>

#include "framework/tokenizers/tokenizer.h"
#include "tests/drafters/helpers.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell::testing {
namespace {

// The longest suffix of `text` that also ends earlier, and where it first does, by trying all.
struct Repeat {
  int length = 0;
  int first_end = 0;
};
Repeat longest_repeat(TokenSpan text) {
  const auto size = static_cast<int>(text.size());
  for (int length = size - 1; length >= 1; --length)
    for (int end = length - 1; end < size - 1; ++end)
      if (std::equal(text.end() - length, text.end(), text.begin() + (end - length + 1))) return {length, end};
  return {};
}

int occurrences(TokenSpan text, TokenSpan pattern) {
  int found = 0;
  for (std::size_t at = 0; at + pattern.size() <= text.size(); ++at)
    found += std::equal(pattern.begin(), pattern.end(), text.begin() + at);
  return found;
}

TEST_CASE("the automaton's longest repeated suffix and its first end are those of brute force") {
  for (const int alphabet : {1, 2, 3, 8})
    for (std::uint64_t seed = 0; seed < 6; ++seed) {
      const Tokens text = random_text(alphabet == 1 ? 30 : 120, alphabet, seed);
      SuffixAutomaton automaton;
      for (std::size_t i = 0; i < text.size(); ++i) {
        automaton.append(text[i]);
        const Repeat expected = longest_repeat(TokenSpan(text).first(i + 1));
        INFO("alphabet " << alphabet << ", seed " << seed << ", position " << i);
        const SuffixAutomaton::State state = automaton.longest_repeat();
        REQUIRE(automaton.length(state) == expected.length);
        if (expected.length > 0) REQUIRE(automaton.first_end(state) == expected.first_end);
      }
    }
}

TEST_CASE("the automaton counts every substring, and nothing reaches over the end of a document") {
  SuffixAutomaton automaton;
  std::vector<Tokens> documents;
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    documents.push_back(random_text(40, 3, seed));
    for (const Token token : documents.back()) automaton.append(token);
    automaton.end_document();
  }
  automaton.count();
  for (const Tokens& document : documents)
    for (std::size_t from = 0; from < document.size(); ++from) {
      SuffixAutomaton::State state = SuffixAutomaton::kRoot;
      for (std::size_t end = from + 1; end <= std::min(from + 6, document.size()); ++end) {
        state = automaton.next(state, document[end - 1]).value();
        const TokenSpan pattern = TokenSpan(document).subspan(from, end - from);
        int expected = 0;
        std::map<Token, int> after;
        for (const Tokens& other : documents) {
          expected += occurrences(other, pattern);
          for (Token next = 0; next < 3; ++next) {
            Tokens longer(pattern.begin(), pattern.end());
            longer.push_back(next);
            if (const int count = occurrences(other, longer)) after[next] += count;
          }
        }
        REQUIRE(automaton.occurrences(state) == expected);
        const auto edges = automaton.frequent_edges(state, 8);
        REQUIRE(edges.size() == after.size());
        for (std::size_t i = 0; i < edges.size(); ++i) {
          CHECK(automaton.occurrences(edges[i].to) == after[edges[i].token]);
          if (i > 0) CHECK(automaton.occurrences(edges[i - 1].to) >= automaton.occurrences(edges[i].to));
        }
      }
    }
}

TEST_CASE("suffix_automaton copies what followed the longest repeat, as long as the match allows") {
  DrafterBench bench("{type: suffix_automaton, alpha: 1, climb: false}");
  bench.begin(0, {1, 2, 3, 4, 5, 6, 7, 8, 9, 2, 3});
  CHECK(chain_of(bench.draft(0)) == Tokens{4, 5, 6});  // 1 + 1 * 2 tokens
  CHECK(chain_of(bench.draft(0, {2, 8, 1})) == Tokens{4, 5});
  CHECK(chain_of(bench.draft(0, {8, 1, 1})) == Tokens{4});
  CHECK(bench.draft(0, {0, 0, 0}).size() == 1);
  bench.commit(0, {4, 50});
  CHECK(bench.draft(0).size() == 1);  // 50 never came before
}

TEST_CASE("suffix_automaton climbs to a shorter match where little follows the longest") {
  const Tokens prompt = {5, 1, 2, 3, 4, 6, 7, 5, 5};
  DrafterBench longest("{type: suffix_automaton, climb: false, num_speculative_tokens: 4}");
  DrafterBench climbing("{type: suffix_automaton, num_speculative_tokens: 4}");
  Tokens text = prompt;
  text.insert(text.end(), {8, 5, 5});
  longest.begin(0, text);
  climbing.begin(0, text);
  CHECK(chain_of(longest.draft(0)) == Tokens{8, 5, 5});
  CHECK(chain_of(climbing.draft(0)) == Tokens{1, 2, 3, 4});
}

// One letter, one token: 'a' is 10.
class Letters final : public Tokenizer {
 public:
  int vocab_size() const override { return 64; }
  Tokens encode(std::string_view text, const EncodeOptions&) const override {
    Tokens out;
    for (const char c : text) out.push_back(c >= 'a' && c <= 'z' ? c - 'a' + 10 : 0);
    return out;
  }
  std::unique_ptr<DecodeState> start_decoding(bool) const override { fail("not used"); }
  std::optional<Token> bos() const override { return std::nullopt; }
  std::vector<Token> eos() const override { return {}; }
  std::optional<Token> token_to_id(std::string_view) const override { return std::nullopt; }
  std::string id_to_token(Token) const override { return ""; }
  std::string kind() const override { return "letters"; }
};

TEST_CASE("suffix_automaton drafts a tree out of a corpus where its match is longer by more than the bias") {
  const TemporaryFolder folder;
  const auto corpus = folder.write("corpus.txt", "abcdx abcdx abcdy");
  const std::string with_corpus = "{type: suffix_automaton, corpus: " + corpus.string() + ", length_bias: 2}";
  DrafterBench bench(with_corpus, 64, std::make_shared<Letters>());
  const auto encoded = Letters().encode("abcd", {});
  bench.begin(0, encoded);
  const DraftTree tree = bench.draft(0);
  const auto x = tree.child(kAnchor, 10 + 'x' - 'a'), y = tree.child(kAnchor, 10 + 'y' - 'a');
  REQUIRE(x);
  REQUIRE(y);
  CHECK(*x < *y);  // the more frequent one first
  CHECK(bench.draft(0, {8, 8, 1}).is_chain());
  bench.begin(1, {encoded.end() - 2, encoded.end()});  // a match of 2 is not longer than the bias
  CHECK(bench.draft(1).size() == 1);

  CHECK_THROWS_WITH(DrafterBench(with_corpus), Catch::Matchers::Contains("needs the target's tokenizer"));
  const auto missing = "{type: suffix_automaton, corpus: " + (folder.path() / "none.txt").string() + "}";
  CHECK_THROWS_WITH(DrafterBench(missing, 64, std::make_shared<Letters>()), Catch::Matchers::Contains("none.txt"));
  const auto empty = folder.write("empty.txt", "");
  CHECK_THROWS_WITH(
      DrafterBench("{type: suffix_automaton, corpus: " + empty.string() + "}", 64, std::make_shared<Letters>()),
      Catch::Matchers::Contains("holds no text"));
}

}  // namespace
}  // namespace foretell::testing
