#include "drafters/suffix_decoding.h"

#include <algorithm>
#include <map>

#include "tests/drafters/helpers.h"
#include "tests/support/catch.h"

namespace foretell::testing {
namespace {

using Counts = std::map<Tokens, int>;

// All substrings of at most `depth` tokens, by cutting them out.
Counts counted(const std::vector<Tokens>& sequences, int depth) {
  Counts counts;
  for (const Tokens& sequence : sequences)
    for (std::size_t from = 0; from < sequence.size(); ++from)
      for (std::size_t end = from + 1; end <= std::min(sequence.size(), from + static_cast<std::size_t>(depth)); ++end)
        ++counts[Tokens(sequence.begin() + static_cast<std::ptrdiff_t>(from),
                        sequence.begin() + static_cast<std::ptrdiff_t>(end))];
  return counts;
}

// Every string of the tree with its count, by walking it.
Counts counted(const SuffixTree& tree) {
  Counts counts;
  const auto walk = [&](const auto& self, SuffixTree::Node node, Tokens string) -> void {
    for (int i = 0; i < tree.length(node); ++i) {
      string.push_back(tree.token(node, i));
      counts[string] = tree.count(node);
    }
    int before = tree.count(node);
    for (const SuffixTree::Node child : tree.children(node)) {
      if (node != SuffixTree::kRoot) CHECK(tree.count(child) <= before);  // in order
      before = tree.count(child);
      SuffixTree::Place place{node, tree.length(node)};
      CHECK((tree.follow(place, tree.token(child, 0)) && place.node == child));
      self(self, child, string);
    }
  };
  walk(walk, SuffixTree::kRoot, {});
  return counts;
}

TEST_CASE("the suffix tree of a growing text counts every substring up to its depth") {
  for (const int depth : {1, 2, 5, 16})
    for (const int alphabet : {1, 2, 4}) {
      SuffixTree tree(depth);
      const Tokens text = random_text(90, alphabet, static_cast<std::uint64_t>(10 * depth + alphabet));
      for (std::size_t i = 0; i < text.size(); ++i) {
        tree.append(text[i]);
        const Tokens so_far(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        INFO("depth " << depth << ", alphabet " << alphabet << ", " << i + 1 << " tokens");
        if (i % 7 == 0 || i + 1 == text.size()) REQUIRE(counted(tree) == counted({so_far}, depth));
        // Each suffix is where its tokens lead.
        std::size_t length = tree.suffixes().size();
        for (const SuffixTree::Node suffix : tree.suffixes()) {
          SuffixTree::Place place;
          for (const Token token : TokenSpan(so_far).last(length)) REQUIRE(tree.follow(place, token));
          REQUIRE(place.node == suffix);
          REQUIRE(place.offset == tree.length(suffix));
          --length;
        }
      }
      CHECK(tree.nodes() <= 2 * text.size());
    }
}

TEST_CASE("the suffix tree of many sequences counts them, also after the oldest have gone") {
  for (const int depth : {3, 8, 64})
    for (const int alphabet : {2, 3, 6}) {
      SuffixTree tree(depth);
      std::vector<Tokens> sequences;
      for (std::uint64_t seed = 0; seed < 24; ++seed) {
        sequences.push_back(random_text(static_cast<int>(5 + 7 * (seed % 6)), alphabet,
                                        1000 * seed + static_cast<std::uint64_t>(depth)));
        for (const Token token : sequences.back()) tree.append(token);
        tree.end_sequence();
        if (sequences.size() > 4) {
          tree.drop_oldest();
          sequences.erase(sequences.begin());
        }
        INFO("depth " << depth << ", alphabet " << alphabet << ", sequence " << seed);
        REQUIRE(tree.sequences() == sequences.size());
        REQUIRE(counted(tree) == counted(sequences, depth));
        std::size_t tokens = 0;
        for (const Tokens& sequence : sequences) tokens += sequence.size();
        CHECK(tree.tokens() == tokens);
        CHECK(tree.nodes() <= 2 * tokens);
      }
      while (tree.sequences() > 0) tree.drop_oldest();
      CHECK(tree.nodes() == 0);
      CHECK(tree.tokens() == 0);
    }
}

// The rule in plain loops: every match length, every token the most frequent continuation.
Tokens best_path(const Tokens& text, int depth, double min_probability) {
  const Counts counts = counted({text}, depth);
  Tokens best;
  double best_score = 0;
  for (std::size_t match = 1; match < std::min<std::size_t>(text.size(), static_cast<std::size_t>(depth)); ++match) {
    Tokens string(text.end() - static_cast<std::ptrdiff_t>(match), text.end());
    double probability = 1, score = 0;
    Tokens draft;
    while (draft.size() < match && string.size() < static_cast<std::size_t>(depth)) {
      int most = 0;
      Token token = 0;
      for (Token next = 0; next < 16; ++next) {
        Tokens longer = string;
        longer.push_back(next);
        const auto found = counts.find(longer);
        if (found != counts.end() && found->second > most) {
          most = found->second;
          token = next;
        }
      }
      if (most == 0) break;
      probability *= static_cast<double>(most) / counts.at(string);
      if (probability < min_probability) break;
      draft.push_back(token);
      score += probability;
      string.push_back(token);
    }
    if (!draft.empty() && score >= best_score) {
      best_score = score;
      best = draft;
    }
  }
  return best;
}

TEST_CASE("suffix_decoding drafts the path with the best score") {
  // A text of phrases without two equally frequent continuations.
  const Tokens text = {1, 2, 3, 4, 9, 1, 2, 3, 4, 9, 1, 2, 3, 5, 9, 1, 2, 3, 4, 9, 1, 2, 3};
  DrafterBench bench("{type: suffix_decoding, max_tree_depth: 10}");
  bench.begin(0, text);
  CHECK(chain_of(bench.draft(0)) == best_path(text, 10, 0.1));
  CHECK(chain_of(bench.draft(0)).front() == 4);
  CHECK(chain_of(bench.draft(0, {1, 8, 1})).size() == 1);
  CHECK(bench.draft(0, {0, 0, 0}).size() == 1);
  bench.commit(0, {15});
  CHECK(bench.draft(0).size() == 1);
}

TEST_CASE("suffix_decoding's tree holds the alternatives that are probable enough") {
  const Tokens text = {1, 2, 3, 1, 2, 3, 1, 2, 4, 1, 2};
  DrafterBench tree("{type: suffix_decoding, mode: tree, max_spec_factor: 2}");
  tree.begin(0, text);
  const DraftTree draft = tree.draft(0);
  CHECK(draft.child(kAnchor, 3));
  CHECK(draft.child(kAnchor, 4));
  CHECK(draft.size() == 5);  // 2 tokens matched
  DrafterBench strict("{type: suffix_decoding, mode: tree, max_spec_factor: 2, min_token_prob: 0.3}");
  strict.begin(0, text);
  CHECK(strict.draft(0).is_chain());
}

TEST_CASE("suffix_decoding remembers past responses, as many as it may") {
  const auto drafted_after = [](const std::string& options, const std::vector<Tokens>& responses,
                                const Tokens& prompt) {
    DrafterBench bench("{type: suffix_decoding" + options + "}");
    for (const Tokens& response : responses) {
      bench.begin(0, {60});
      bench.commit(0, response);
      bench.end(0);
    }
    bench.begin(1, prompt);
    return chain_of(bench.draft(1));
  };
  const Tokens response = {1, 2, 3, 4, 5, 6}, other = {11, 12, 13, 14, 15, 16};
  CHECK(drafted_after("", {response}, {40, 2, 3}) == Tokens{4, 5});
  CHECK(drafted_after(", global: false", {response}, {40, 2, 3}).empty());
  CHECK(drafted_after(", max_cached_requests: 1", {response, other}, {40, 2, 3}).empty());
  CHECK(drafted_after(", max_cached_requests: 1", {response, other}, {40, 12, 13}) == Tokens{14, 15});
  CHECK(drafted_after(", max_cached_tokens: 11", {response, other}, {40, 2, 3}).empty());
  CHECK(drafted_after(", max_cached_tokens: 12", {response, other}, {40, 2, 3}) == Tokens{4, 5});
  CHECK(drafted_after(", max_cached_tokens: 5", {response}, {40, 2, 3}).empty());
  CHECK(drafted_after("", {response}, {1, 2, 60, 60, 1, 2}) ==
        Tokens{3, 4});  // the other tree is surer of its draft than the own one
}

TEST_CASE("suffix_decoding serves several sequences at once") {
  DrafterBench bench("suffix_decoding");
  bench.begin(0, {1, 2, 3, 1, 2});
  bench.begin(1, {5, 6, 7, 5, 6});
  CHECK(chain_of(bench.draft(0)).front() == 3);
  CHECK(chain_of(bench.draft(1)).front() == 7);
  bench.commit(0, {3, 1});
  bench.end(0);
  bench.begin(0, {8, 3});
  CHECK(chain_of(bench.draft(0)) == Tokens{1});  // from the response that has ended
}

}  // namespace
}  // namespace foretell::testing
