// The trie against a table of branches that is counted, halved and searched in the plainest way.
#include <map>
#include <tuple>

#include "experiments/certify/checks.h"
#include "tests/drafters/retrieval_drafting.h"
#include "tests/support/catch.h"

namespace foretell::testing {
namespace {

constexpr int kTrieVocab = 7;
using Branches = std::map<Tokens, double>;  // first token and branch, to its frequency

struct TrieReference {
  std::size_t branch_length = 8, match_length = 2, nodes = 63;
  double output_weight = 1e-4;
  int max_output_nodes = 512, max_nodes = 1 << 20;
  bool chain = false;
  Branches input = {}, output = {};
  int squeezed = 0;

  void begin(const Tokens& prompt) {
    input.clear();
    for (std::size_t start = 0; start < prompt.size(); ++start)
      for (std::size_t length = 2; length <= branch_length + 1 && start + length <= prompt.size(); ++length)
        ++input[Tokens(prompt.begin() + static_cast<std::ptrdiff_t>(start),
                       prompt.begin() + static_cast<std::ptrdiff_t>(start + length))];
  }

  void write(const Tokens& text) {
    for (std::size_t length = 2; length <= std::min(branch_length + 1, text.size()); ++length) {
      const Tokens branch(text.end() - static_cast<std::ptrdiff_t>(length), text.end());
      const Tokens parent(branch.begin(), branch.end() - 1);
      if (length > 2 && !output.contains(parent)) continue;
      ++output[branch];
      while (nodes_of(branch.front()) > max_output_nodes) squeeze(branch.front());
    }
    while (static_cast<int>(output.size()) > max_nodes)
      for (Token first = 0; first < kTrieVocab; ++first) squeeze(first);
  }
  int nodes_of(Token first) const {
    return static_cast<int>(
        std::count_if(output.begin(), output.end(), [&](const auto& entry) { return entry.first.front() == first; }));
  }
  void squeeze(Token first) {
    ++squeezed;
    std::set<Tokens> dropped;
    for (const auto& [branch, frequency] : output)  // shorter branches come before those that they begin
      if (branch.front() == first && (frequency <= 1 || dropped.contains(Tokens(branch.begin(), branch.end() - 1))))
        dropped.insert(branch);
    for (const Tokens& branch : dropped) output.erase(branch);
    for (auto& [branch, frequency] : output)
      if (branch.front() == first) frequency /= 2;
  }

  std::set<Tokens> draft(const Tokens& text) const {
    std::set<Tokens> best;
    for (std::size_t length = std::min(match_length, text.size()); length > 0 && best.size() < branch_length;
         --length) {
      const std::set<Tokens> found = below(Tokens(text.end() - static_cast<std::ptrdiff_t>(length), text.end()));
      if (found.size() > best.size()) best = found;
    }
    return best;
  }
  double weight(const Tokens& branch) const {
    const auto in = input.find(branch), out = output.find(branch);
    return (1 - output_weight) * (in == input.end() ? 0 : in->second) +
           output_weight * (out == output.end() ? 0 : out->second);
  }
  // Takes the heaviest child of what was taken, again and again; of equal ones the one nearest to the match, then the
  // lowest token, then the parent that was taken first.
  std::set<Tokens> below(const Tokens& match) const {
    std::vector<Tokens> taken{{}};
    while (taken.size() <= (chain ? branch_length : nodes)) {
      std::optional<std::tuple<double, int, Token, int>> best;
      Tokens best_path;
      for (std::size_t parent = chain ? taken.size() - 1 : 0; parent < taken.size(); ++parent)
        for (Token t = 0; t < kTrieVocab; ++t) {
          Tokens path = taken[parent], branch = match;
          path.push_back(t);
          branch.insert(branch.end(), path.begin(), path.end());
          const bool is_taken = std::find(taken.begin(), taken.end(), path) != taken.end();
          if (is_taken || path.size() > branch_length || (!input.contains(branch) && !output.contains(branch)))
            continue;
          const std::tuple rank{weight(branch), -static_cast<int>(path.size()), -t, -static_cast<int>(parent)};
          if (best && rank <= *best) continue;
          best = rank;
          best_path = path;
        }
      if (!best) break;
      taken.push_back(best_path);
    }
    return {taken.begin() + 1, taken.end()};
  }
};

struct TrieForm {
  const char* options;
  TrieReference reference;
};

TEST_CASE("ant_trie drafts what a table of all branches says, while it is squeezed") {
  const TrieForm forms[] = {{"", {}},
                            {", num_nodes: 5, match_length: 3", {.match_length = 3, .nodes = 5}},
                            {", branch_length: 4, output_weight: 0.7", {.branch_length = 4, .output_weight = 0.7}},
                            {", max_output_nodes: 40", {.max_output_nodes = 40}},
                            {", max_nodes: 90, output_weight: 1", {.output_weight = 1, .max_nodes = 90}},
                            {", draft: chain, branch_length: 5", {.branch_length = 5, .chain = true}}};
  for (const TrieForm& form : forms) {
    INFO(form.options);
    TrieReference reference = form.reference;
    HandDriven driven(std::string("{type: ant_trie") + form.options + "}", kTrieVocab);
    PhiloxRng rng({.seed = 5});
    HandScores scores({{0, 1}});
    bool same = true, small = true;
    std::size_t drafted = 0;
    for (std::uint64_t request = 0; request < 4; ++request) {
      const Tokens prompt = retrieval_text(20 + 9 * request, kTrieVocab, request);
      driven.begin(prompt);
      reference.begin(prompt);
      const Tokens output = retrieval_text(120, kTrieVocab, 50 + request);
      for (std::size_t at = 0; at < output.size();) {
        const DraftTree tree = driven.draft();
        const std::set<Tokens> expected = reference.draft(driven.text()), found = node_paths(tree);
        same = same && found == expected;
        drafted += found.size();
        const DraftTree cut = driven.draft(DraftBudget{4, 2, 4});
        small = small && cut.size() <= 5 && cut.depth() <= 2;
        const std::size_t emitted = std::min<std::size_t>(1 + rng.below(3), output.size() - at);
        driven.observe(tree, scores, TokenSpan(output).subspan(at, emitted));
        for (std::size_t i = 0; i < emitted; ++i)
          reference.write(Tokens(output.begin(), output.begin() + static_cast<std::ptrdiff_t>(++at)));
      }
    }
    CHECK(same);
    CHECK(small);
    CHECK(drafted > 500);
    CHECK((reference.squeezed > 0) == (reference.max_output_nodes < 512 || reference.max_nodes < 1000));
  }
}

TEST_CASE("ant_trie forgets a prompt with its request and keeps what was written, without stop tokens") {
  HandDriven driven("{type: ant_trie, match_length: 1}", 9);
  driven.begin({1, 2, 3, 1}, {8});
  CHECK(node_paths(driven.draft()) == std::set<Tokens>{{2}, {2, 3}, {2, 3, 1}});
  HandScores scores({{0, 1}});
  const DraftTree tree = driven.draft();
  driven.observe(tree, scores, Tokens{5, 6, 8});
  driven.begin({1});
  CHECK(driven.draft().size() == 1);
  driven.begin({5});
  CHECK(node_paths(driven.draft()) == std::set<Tokens>{{6}});
}

TEST_CASE("ant_trie is lossless") {
  using namespace certify;
  for (const char* drafter : {"{type: ant_trie, num_nodes: 5, output_weight: 0.5}", "{type: ant_trie, draft: chain}"})
    for (const char* verifier : {"rejection", "sample_then_match"}) {
      const Setup setup = toy_setup(drafter, verifier, "", toy_target(3));
      CHECK(check_exact(setup).value_or("") == "");
      CHECK(check_identity(toy_setup(drafter, verifier)).value_or("") == "");
    }
}

}  // namespace
}  // namespace foretell::testing
