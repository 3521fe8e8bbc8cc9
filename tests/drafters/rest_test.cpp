#include <map>

#include "experiments/certify/checks.h"
#include "framework/core/error.h"
#include "framework/datasets/datastore.h"
#include "tests/drafters/retrieval_drafting.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell::testing {
namespace {

constexpr int kRestVocab = 6;

struct RestReference {
  Tokens corpus = {};  // with the token kRestVocab between documents
  int longest = 16, shortest = 2, length = 10;
  std::size_t nodes = 64, most = 5000;
  bool chain = false;

  // What follows each occurrence of the pattern, in the order of the suffixes.
  std::vector<Tokens> continuations(TokenSpan pattern) const {
    std::vector<Tokens> suffixes;
    for (std::size_t i = 0; i + pattern.size() <= corpus.size(); ++i)
      if (std::equal(pattern.begin(), pattern.end(), corpus.begin() + static_cast<std::ptrdiff_t>(i)))
        suffixes.emplace_back(corpus.begin() + static_cast<std::ptrdiff_t>(i + pattern.size()), corpus.end());
    std::sort(suffixes.begin(), suffixes.end());
    std::vector<Tokens> out;
    const std::size_t count = std::min(most, suffixes.size());
    for (std::size_t i = 0; i < count; ++i) {
      const Tokens& suffix = suffixes[i * suffixes.size() / count];
      const auto end = std::min(std::find(suffix.begin(), suffix.end(), kRestVocab),
                                suffix.begin() + std::min<std::ptrdiff_t>(length, std::ssize(suffix)));
      if (end != suffix.begin()) out.emplace_back(suffix.begin(), end);
    }
    return out;
  }

  std::set<Tokens> draft(const Tokens& text) const {
    for (int m = longest; m >= shortest; --m) {
      if (static_cast<std::size_t>(m) > text.size()) continue;
      std::map<Tokens, int> counts;
      for (const Tokens& continuation : continuations(TokenSpan(text).last(static_cast<std::size_t>(m))))
        for (std::size_t n = 1; n <= continuation.size(); ++n)
          ++counts[Tokens(continuation.begin(), continuation.begin() + static_cast<std::ptrdiff_t>(n))];
      if (!counts.empty()) return chain ? best_chain(counts) : most_frequent(counts);
    }
    return {};
  }

  std::set<Tokens> most_frequent(const std::map<Tokens, int>& counts) const {
    std::vector<std::pair<Tokens, int>> order(counts.begin(), counts.end());
    std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
      return a.second != b.second ? a.second > b.second : a.first.size() < b.first.size();
    });
    std::set<Tokens> out;
    for (std::size_t i = 0; i < std::min(nodes, order.size()); ++i) out.insert(order[i].first);
    return out;
  }

  std::set<Tokens> best_chain(const std::map<Tokens, int>& counts) const {
    std::set<Tokens> out;
    for (Tokens path; true; out.insert(path)) {
      int best = 0;
      Tokens longer = path;
      longer.push_back(0);
      Token next = 0;
      for (Token t = 0; t < kRestVocab; ++t) {
        longer.back() = t;
        const auto found = counts.find(longer);
        if (found == counts.end() || found->second <= best) continue;
        best = found->second;
        next = t;
      }
      if (best == 0) return out;
      path.push_back(next);
    }
  }
};

Tokens rest_documents() {
  Tokens corpus;
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    const Tokens document = retrieval_text(150 + 10 * seed, kRestVocab, seed);
    corpus.insert(corpus.end(), document.begin(), document.end());
    corpus.push_back(kRestVocab);
  }
  corpus.insert(corpus.end(), {1, 2, 3});  // a document without an end
  return corpus;
}

std::string rest_store_of(const TemporaryFolder& folder, int vocab, const Tokens& corpus) {
  const auto path = folder.path() / "corpus.datastore";
  Datastore::build(vocab, corpus).write(path);
  return path.string();
}

TEST_CASE("rest drafts the most frequent prefixes of what follows the longest match") {
  const TemporaryFolder folder;
  const std::string file = rest_store_of(folder, kRestVocab, rest_documents());
  struct Form {
    const char* options;
    RestReference reference;
  };
  const Form forms[] = {
      {"", {}},
      {", num_nodes: 7", {.nodes = 7}},
      {", max_occurrences: 5, longest_match: 3", {.longest = 3, .most = 5}},
      {", num_speculative_tokens: 3, longest_match: 2, num_nodes: 200", {.longest = 2, .length = 3, .nodes = 200}},
      {", shortest_match: 5", {.shortest = 5}},
      {", draft: chain, longest_match: 4", {.longest = 4, .chain = true}}};
  for (Form form : forms) {
    INFO(form.options);
    form.reference.corpus = rest_documents();
    HandDriven driven("{type: rest, datastore: \"" + file + "\"" + form.options + "}", kRestVocab);
    int drafted = 0;
    for (std::uint64_t seed = 100; seed < 160; ++seed) {
      driven.begin(retrieval_text(1 + seed % 30, kRestVocab, seed));
      const DraftTree tree = driven.draft();
      CHECK(node_paths(tree) == form.reference.draft(driven.text()));
      CHECK(tree.drafted() == tree.size() - 1);
      drafted += tree.size() > 1;
      const DraftTree small = driven.draft(DraftBudget{3, 2, 3});
      CHECK(small.size() <= 4);
      CHECK(small.depth() <= 2);
      CHECK(driven.draft(DraftBudget{0, 0, 0}).size() == 1);
    }
    CHECK(drafted > 10);
  }
}

TEST_CASE("rest without a datastore draws on the prompt") {
  HandDriven driven("{type: rest, num_speculative_tokens: 4}", kRestVocab);
  driven.begin({1, 2, 3, 4, 5, 0, 1, 2});
  CHECK(node_paths(driven.draft()) == std::set<Tokens>{{3}, {3, 4}, {3, 4, 5}, {3, 4, 5, 0}});
  HandScores scores({{0, 1}});
  const DraftTree tree = driven.draft();
  driven.observe(tree, scores, Tokens{5, 0});
  CHECK(node_paths(driven.draft()) == std::set<Tokens>{{1}, {1, 2}});
  driven.observe(tree, scores, Tokens{4, 4, 4, 4});  // what was written is not in the corpus
  CHECK(driven.draft().size() == 1);
}

TEST_CASE("rest never drafts across documents or past the end") {
  const TemporaryFolder folder;
  HandDriven driven("{type: rest, datastore: \"" + rest_store_of(folder, 4, {0, 1, 4, 2, 3}) + "\"}", 4);
  driven.begin({0, 1});
  CHECK(driven.draft().size() == 1);
  driven.begin({2, 3});
  CHECK(driven.draft().size() == 1);
}

TEST_CASE("rest refuses a datastore of another vocabulary and options that contradict") {
  const TemporaryFolder folder;
  const std::string file = rest_store_of(folder, 9, {1, 2, 8, 9, 1});
  CHECK_THROWS_WITH(HandDriven("{type: rest, datastore: \"" + file + "\"}", 8),
                    Catch::Contains("vocabulary of 9 tokens, the target has 8"));
  CHECK_THROWS_WITH(HandDriven("{type: rest, datastore: /nowhere/at.all}", 8),
                    Catch::Contains("/nowhere/at.all: cannot be opened"));
  CHECK_THROWS_WITH(HandDriven("{type: rest, shortest_match: 5, longest_match: 3}", 8),
                    Catch::Contains("drafter:1") && Catch::Contains("5 is above longest_match 3"));
}

TEST_CASE("rest with a datastore is lossless") {
  using namespace certify;
  for (const int vocab : {3, 11}) {
    const TemporaryFolder folder;
    const auto target = toy_target(vocab);
    Tokens corpus;
    for (Token first = 0; first < 6; ++first) {
      Request request{.prompt = {first % vocab, 2}, .max_new_tokens = 60};
      const Tokens answer = reference_greedy(*target, request);
      corpus.insert(corpus.end(), answer.begin(), answer.end());
      corpus.push_back(vocab);
      const Tokens other = retrieval_text(60, vocab, static_cast<std::uint64_t>(first));
      corpus.insert(corpus.end(), other.begin(), other.end());
    }
    const std::string file = rest_store_of(folder, vocab, corpus);
    for (const char* options :
         {"num_nodes: 6, num_speculative_tokens: 3", "draft: chain", "longest_match: 2, shortest_match: 1"}) {
      const Setup setup =
          toy_setup("{type: rest, datastore: \"" + file + "\", " + options + "}", "rejection", "", target);
      CHECK(check_identity(setup).value_or("") == "");
      if (vocab == 3) CHECK(check_exact(setup).value_or("") == "");
      const Generation out = run(setup, {{.prompt = {1, 2}, .max_new_tokens = 60}}).front();
      CHECK(out.rounds.size() < 60);
    }
  }
}

}  // namespace
}  // namespace foretell::testing
