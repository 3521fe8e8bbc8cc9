// A trie of what was read and written, weighed by how often (Zhao et al. 2023, "Lookahead: an inference acceleration
// framework", arXiv 2312.12728).
//
// Every token starts a branch: the tokens behind it, up to branch_length. Branches of the prompt count as input, for
// this request only; branches of the output count as output, for all later requests of the run too. The newest tokens
// are looked up, the longest match first, until one has at least branch_length nodes below it; the nodes there are
// drafted in the order of (1 - w) f_in + w f_out, as a tree or, with draft: chain, the best child again and again. All
// proposals are chosen tokens.
//
// Output is forgotten by squeezing: the output frequencies of a trie are halved, and nodes at 1 or less are dropped
// with all below them, as often as it takes: a first token's trie when it has more than max_output_nodes, every trie
// when there are more than max_nodes together. Deviations from the released code: a branch counts as soon as its tokens
// are there (there branch_length tokens later); where no match is rich enough, the one with the most nodes is taken
// (there the shortest, even if it has none); nodes of one weight are ordered by depth, then by token; a squeeze happens
// when a limit is passed (there at the end of a request, and only once 1,024 tries have changed); there are no stop
// words that start no branch. Memory: max_nodes nodes of 24 bytes for the run (25 MB by default; spare room of growing
// vectors can double it), and branch_length nodes for each prompt token of a running sequence.
#include <algorithm>
#include <unordered_map>

#include "framework/api/build_context.h"
#include "framework/api/drafter.h"
#include "framework/core/error.h"

namespace foretell::drafters {
namespace {

struct AntTrieOptions {
  int nodes = 63;
  int branch_length = 8;
  int match_length = 2;
  double output_weight = 1e-4;
  int max_output_nodes = 512;
  int max_nodes = 1 << 20;
  std::string draft = "tree";
  void declare(Parameters& p) {
    p.add("num_nodes", nodes, "nodes of a draft", {.min = 1, .max = 4096});
    p.add("branch_length", branch_length, "tokens of a branch, behind its first one", {.min = 1, .max = 64});
    p.add("match_length", match_length, "longest suffix that is looked up", {.min = 1, .max = 64});
    p.add("output_weight", output_weight, "w: weight of the output's frequencies against the prompt's",
          {.min = 0, .max = 1});
    p.add("max_output_nodes", max_output_nodes, "output nodes kept for each first token",
          {.min = 1, .max = 1e6, .aliases = {"max_output_node"}});
    p.add("max_nodes", max_nodes, "output nodes kept in all", {.min = 1, .max = 1 << 28});
    p.add("draft", draft, "all branches, or one", {.choices = {"tree", "chain"}});
  }
  bool chain() const { return draft == "chain"; }
};

using TrieNodeId = std::int32_t;

// The branches that start with one token; node 0 is that token itself.
class FrequencyTrie {
 public:
  FrequencyTrie() : nodes_(1) {}

  int size() const { return static_cast<int>(nodes_.size()) - 1; }
  double frequency(TrieNodeId node) const { return nodes_[static_cast<std::size_t>(node)].frequency; }

  template <class F>
  void for_each_child(TrieNodeId node, F&& f) const {
    for (TrieNodeId child = nodes_[static_cast<std::size_t>(node)].first_child; child != 0;
         child = nodes_[static_cast<std::size_t>(child)].sibling)
      f(nodes_[static_cast<std::size_t>(child)].token, child);
  }
  std::optional<TrieNodeId> find(TokenSpan branch) const {
    TrieNodeId at = 0;
    for (const Token token : branch) {
      const TrieNodeId next = child(at, token);
      if (next == 0) return std::nullopt;
      at = next;
    }
    return at;
  }

  // Counts the last token of a branch whose other tokens were counted before; nothing if they were forgotten since. How
  // many nodes that adds.
  int count(TokenSpan branch) {
    const auto parent = find(branch.first(branch.size() - 1));
    if (!parent) return 0;
    const TrieNodeId known = child(*parent, branch.back());
    if (known != 0) {
      ++nodes_[static_cast<std::size_t>(known)].frequency;
      return 0;
    }
    TrieNodeId& head = nodes_[static_cast<std::size_t>(*parent)].first_child;
    const TrieNodeId added{static_cast<TrieNodeId>(nodes_.size())};
    const TrieNodeId sibling = std::exchange(head, added);
    nodes_.push_back({1.0, branch.back(), 0, sibling});
    return 1;
  }

  // Halves all frequencies and drops what had 1 or less.
  void squeeze() {
    FrequencyTrie kept;
    copy_children(0, kept, 0);
    nodes_ = std::move(kept.nodes_);
  }

 private:
  // 0 ends a list of children, since no child is node 0.
  struct Node {
    double frequency = 0;
    Token token = 0;
    TrieNodeId first_child = 0, sibling = 0;
  };

  TrieNodeId child(TrieNodeId parent, Token token) const {
    TrieNodeId at = nodes_[static_cast<std::size_t>(parent)].first_child;
    while (at != 0 && nodes_[static_cast<std::size_t>(at)].token != token)
      at = nodes_[static_cast<std::size_t>(at)].sibling;
    return at;
  }

  // A trie is no deeper than a branch is long.
  void copy_children(TrieNodeId from, FrequencyTrie& kept, TrieNodeId to) const {
    for_each_child(from, [&](Token token, TrieNodeId child) {
      if (frequency(child) <= 1) return;
      const auto added = static_cast<TrieNodeId>(kept.nodes_.size());
      const TrieNodeId sibling = std::exchange(kept.nodes_[static_cast<std::size_t>(to)].first_child, added);
      kept.nodes_.push_back({frequency(child) / 2, token, 0, sibling});
      copy_children(child, kept, added);
    });
  }

  std::vector<Node> nodes_;
};

// Branches by their first token.
class BranchStore {
 public:
  explicit BranchStore(int branch_length) : branch_length_(static_cast<std::size_t>(branch_length)) {}

  const FrequencyTrie* find(Token first) const {
    const auto found = tries_.find(first);
    return found == tries_.end() ? nullptr : &found->second;
  }
  int nodes() const { return nodes_; }

  // Counts the text's last token in every branch that it belongs to; `on_trie` hears of each trie that has changed.
  template <class F>
  void count_last(TokenSpan text, const F& on_trie) {
    const std::size_t reach = std::min(branch_length_, text.size() - 1);
    for (std::size_t length = 1; length <= reach; ++length) {
      FrequencyTrie& trie = tries_[text[text.size() - 1 - length]];
      nodes_ += trie.count(text.last(length));
      on_trie(trie);
    }
  }
  void squeeze(FrequencyTrie& trie) {
    nodes_ -= trie.size();
    trie.squeeze();
    nodes_ += trie.size();
  }
  void squeeze_all() {
    for (auto& [first, trie] : tries_) squeeze(trie);
    std::erase_if(tries_, [](const auto& entry) { return entry.second.size() == 0; });
  }

 private:
  std::size_t branch_length_;
  std::unordered_map<Token, FrequencyTrie> tries_;
  int nodes_ = 0;
};

// What a place in the input's and the output's tries has in common; a trie that does not have it is left out.
struct TriePlace {
  const FrequencyTrie* input = nullptr;
  const FrequencyTrie* output = nullptr;
  TrieNodeId input_node = 0, output_node = 0;
};

struct Branch {
  double weight;
  int depth;
  Token token;
  NodeId parent;
  TriePlace place;
};

// Whether b is drafted before a.
bool weighs_less(const Branch& a, const Branch& b) {
  if (a.weight != b.weight) return a.weight < b.weight;
  if (a.depth != b.depth) return a.depth > b.depth;
  if (a.token != b.token) return a.token > b.token;
  return a.parent > b.parent;
}

class AntTrieSequence final : public SequenceDrafter {
 public:
  AntTrieSequence(const AntTrieOptions& options, const PromptView& prompt, BranchStore& output)
      : options_(options), input_(options.branch_length), output_(output), stop_tokens_(prompt.request.stop_tokens) {
    for (std::size_t end = 2; end <= prompt.tokens.size(); ++end)
      input_.count_last(prompt.tokens.first(end), [](const FrequencyTrie&) {});
  }

  DraftTree draft(const DraftContext& context) override {
    const DraftBudget& budget = context.budget;
    const int depth = std::min(options_.branch_length, budget.depth);
    const int nodes = std::min(options_.chain() ? depth : options_.nodes, budget.nodes);
    DraftTree best(context.committed.back());
    const std::size_t longest = std::min(static_cast<std::size_t>(options_.match_length), context.committed.size());
    for (std::size_t length = longest; length > 0 && best.size() <= depth; --length) {
      const DraftTree tree = grow(context, context.committed.last(length), nodes, depth);
      if (tree.size() > best.size()) best = tree;
    }
    return best;
  }

  void observe(const RoundView& round) override {
    const std::size_t prompt = round.committed.size() - static_cast<std::size_t>(round.emitted) - written_;
    for (int i = 0; i < round.emitted; ++i) {
      const TokenSpan output = round.committed.subspan(prompt, ++written_);
      if (std::find(stop_tokens_.begin(), stop_tokens_.end(), output.back()) != stop_tokens_.end()) continue;
      output_.count_last(output, [&](FrequencyTrie& trie) {
        while (trie.size() > options_.max_output_nodes) output_.squeeze(trie);
      });
      while (output_.nodes() > options_.max_nodes) output_.squeeze_all();
    }
  }

 private:
  TriePlace find(TokenSpan match) const {
    TriePlace place;
    const auto look_up = [&](const BranchStore& store, const FrequencyTrie*& trie, TrieNodeId& node) {
      const FrequencyTrie* branches = store.find(match.front());
      const auto found = branches ? branches->find(match.subspan(1)) : std::nullopt;
      if (!found) return;
      trie = branches;
      node = *found;
    };
    look_up(input_, place.input, place.input_node);
    look_up(output_, place.output, place.output_node);
    return place;
  }

  DraftTree grow(const DraftContext& context, TokenSpan match, int nodes, int depth) const {
    DraftTree tree(context.committed.back());
    std::vector<Branch> heap;
    push_children(find(match), kAnchor, 1, heap);
    while (!heap.empty() && depth > 0 && tree.size() - 1 < nodes) {
      std::pop_heap(heap.begin(), heap.end(), weighs_less);
      const Branch next = heap.back();
      heap.pop_back();
      if (options_.chain()) heap.clear();
      const NodeId node = tree.choose(next.parent, next.token, context.vocab);
      if (next.depth < depth) push_children(next.place, node, next.depth + 1, heap);
    }
    return tree;
  }

  // A token that both tries have is one child with both frequencies.
  void push_children(const TriePlace& place, NodeId parent, int depth, std::vector<Branch>& heap) const {
    std::vector<Branch> children;
    if (place.input)
      place.input->for_each_child(place.input_node, [&](Token token, TrieNodeId node) {
        const double weight = (1 - options_.output_weight) * place.input->frequency(node);
        children.push_back({weight, depth, token, parent, {.input = place.input, .input_node = node}});
      });
    std::sort(children.begin(), children.end(), [](const Branch& a, const Branch& b) { return a.token < b.token; });
    const auto inputs = static_cast<std::ptrdiff_t>(children.size());
    if (place.output)
      place.output->for_each_child(place.output_node, [&](Token token, TrieNodeId node) {
        const double weight = options_.output_weight * place.output->frequency(node);
        const auto end = children.begin() + inputs;
        const auto both = std::lower_bound(children.begin(), end, token,
                                           [](const Branch& branch, Token t) { return branch.token < t; });
        if (both == end || both->token != token) {
          children.push_back({weight, depth, token, parent, {.output = place.output, .output_node = node}});
          return;
        }
        both->weight += weight;
        both->place.output = place.output;
        both->place.output_node = node;
      });
    for (const Branch& child : children) {
      heap.push_back(child);
      std::push_heap(heap.begin(), heap.end(), weighs_less);
    }
  }

  AntTrieOptions options_;
  BranchStore input_;
  BranchStore& output_;
  std::vector<Token> stop_tokens_;
  std::size_t written_ = 0;  // tokens of the output that were counted
};

class AntTrieDrafter final : public PerSequenceDrafter {
 public:
  using Options = AntTrieOptions;
  AntTrieDrafter(const Options& options, const BuildContext&) : options_(options), output_(options.branch_length) {}

  DraftBudget limits() const override {
    if (options_.chain()) return {options_.branch_length, options_.branch_length, 1};
    return {options_.nodes, options_.branch_length, options_.nodes};
  }
  DraftForm form() const override { return {.tree = !options_.chain(), .point_mass = true}; }

 private:
  std::unique_ptr<SequenceDrafter> open(const PromptView& prompt) override {
    return std::make_unique<AntTrieSequence>(options_, prompt, output_);
  }

  Options options_;
  BranchStore output_;
};

FORETELL_REGISTER(Drafter, AntTrieDrafter, "ant_trie",
                  {.summary = "a trie of prompt and output branches, ranked by how often they came (Ant's lookahead)",
                   .stateful = true,
                   .paper = {"Zhao et al.", 2023, "2312.12728"},
                   .also_known_as = {"PIA Lookahead", "Painless Inference Acceleration"}});

}  // namespace
}  // namespace foretell::drafters
