// Copies the most frequent continuation of what was said before, in this request and in past ones (SuffixDecoding,
// Oliaro et al. 2024, arXiv 2411.04975).
//
// Two suffix trees with counts: one over prompt and output of the request, one over the responses of past requests. For
// each suffix of the text that a tree has, a draft of at most floor(max_spec_factor * match + max_spec_offset) tokens
// is followed down the counts: as a path (always the most frequent child, until the path's probability is below
// min_token_prob) or as a tree (the most probable nodes first). A node's probability is the product of count(child) /
// count(parent) above it, a draft's score the sum over its nodes; the best score is proposed, a longer match among
// equals.
//
// Deviations from the released code: a response enters the global tree when its request ends, not token by token, so
// requests of one batch do not see one another's answers before that; the tree is bounded in tokens as well as in
// requests. A hybrid with a trained drafter is not part of it. Memory: about 250 bytes a token, for the tokens of
// running requests and at most max_cached_tokens tokens of past responses (first in, first out).
#include "drafters/suffix_decoding.h"

#include <algorithm>
#include <map>
#include <queue>

#include "framework/api/build_context.h"
#include "framework/api/drafter.h"
#include "framework/core/error.h"

namespace foretell::drafters {

SuffixTree::SuffixTree(int depth) : depth_(depth), nodes_(1) { FORETELL_CHECK(depth >= 1, "depth {}", depth); }

SuffixTree::Node SuffixTree::make(const NodeData& data) {
  if (free_.empty()) {
    nodes_.push_back(data);
    return static_cast<Node>(nodes_.size()) - 1;
  }
  const Node node = free_.back();
  free_.pop_back();
  nodes_[node] = data;
  return node;
}

void SuffixTree::release(Node node) {
  nodes_[node] = {};
  free_.push_back(node);
}

void SuffixTree::adopt(Node parent, Node child) {
  NodeData& data = nodes_[child];
  data.parent = parent;
  data.place = static_cast<int>(nodes_[parent].children.size());
  nodes_[parent].children.push_back(child);
  child_of_.insert(key(parent, token(child, 0)), child);
}

void SuffixTree::replace(Node old, Node by) {
  const Node parent = nodes_[old].parent;
  nodes_[by].parent = parent;
  nodes_[by].place = nodes_[old].place;
  nodes_[parent].children[static_cast<std::size_t>(nodes_[old].place)] = by;
  *child_of_.find(key(parent, token(by, 0))) = by;
}

void SuffixTree::swap_siblings(Node parent, int a, int b) {
  std::vector<Node>& children = nodes_[parent].children;
  std::swap(children[static_cast<std::size_t>(a)], children[static_cast<std::size_t>(b)]);
  nodes_[children[static_cast<std::size_t>(a)]].place = a;
  nodes_[children[static_cast<std::size_t>(b)]].place = b;
}

void SuffixTree::raise(Node node) {
  const int before = nodes_[node].count++;
  const std::vector<Node>& children = nodes_[nodes_[node].parent].children;
  const auto first = std::partition_point(children.begin(), children.begin() + nodes_[node].place,
                                          [&](Node sibling) { return nodes_[sibling].count > before; });
  swap_siblings(nodes_[node].parent, static_cast<int>(first - children.begin()), nodes_[node].place);
}

void SuffixTree::lower(Node node) {
  const int before = nodes_[node].count--;
  const std::vector<Node>& children = nodes_[nodes_[node].parent].children;
  const auto behind = std::partition_point(children.begin() + nodes_[node].place + 1, children.end(),
                                           [&](Node sibling) { return nodes_[sibling].count >= before; });
  swap_siblings(nodes_[node].parent, static_cast<int>(behind - children.begin()) - 1, nodes_[node].place);
}

// The first token of a label becomes a node of its own, above the rest.
SuffixTree::Node SuffixTree::split_first(Node node) {
  const NodeData& rest = nodes_[node];
  const Node upper = make({.start = rest.start, .length = 1, .count = rest.count});
  replace(node, upper);
  ++nodes_[node].start;
  --nodes_[node].length;
  adopt(upper, node);
  return upper;
}

SuffixTree::Node SuffixTree::absorb_parent(Node child) {
  const Node parent = nodes_[child].parent;
  child_of_.erase(key(parent, token(child, 0)));
  nodes_[child].start = nodes_[parent].start;
  nodes_[child].length += nodes_[parent].length;
  replace(parent, child);
  release(parent);
  return child;
}

// The suffix that ends at `at` goes on with `token`. Longer suffixes have gone on already, so nobody else stands at the
// nodes that change here.
SuffixTree::Node SuffixTree::advance(Node at, Token token, std::int64_t position) {
  NodeData& here = nodes_[at];
  if (at != kRoot && here.count == 1 && here.children.empty()) {  // nobody else has this string: the label grows
    ++here.length;
    return at;
  }
  const Node* found = child_of_.find(key(at, token));
  if (!found) {
    const Node leaf = make({.start = position, .length = 1, .count = 1});
    adopt(at, leaf);
    return leaf;
  }
  const Node child = *found;
  if (at != kRoot && nodes_[child].count + 1 ==
                         here.count) {  // all occurrences go on alike, and this one with them: no node need end here
    if (nodes_[child].length == 1) {
      // The label of the newest occurrence is this suffix's own, and so is its count.
      nodes_[child].count = here.count;
      return absorb_parent(child);
    }
    child_of_.erase(key(at, token));
    ++here.length;
    ++nodes_[child].start;
    --nodes_[child].length;
    child_of_.insert(key(at, this->token(child, 0)), child);
    return at;
  }
  const Node next = nodes_[child].length == 1 ? child : split_first(child);
  nodes_[next].start = position;
  raise(next);
  return next;
}

void SuffixTree::append(Token token) {
  const std::int64_t position = base_ + static_cast<std::int64_t>(text_.size());
  text_.push_back(token);
  if (static_cast<int>(suffixes_.size()) == depth_) suffixes_.pop_front();
  suffixes_.push_back(kRoot);
  for (Node& suffix : suffixes_) suffix = advance(suffix, token, position);
}

void SuffixTree::end_sequence() {
  suffixes_.clear();
  ends_.push_back(base_ + static_cast<std::int64_t>(text_.size()));
}

void SuffixTree::remove(Node leaf) {
  const Node parent = nodes_[leaf].parent;
  child_of_.erase(key(parent, token(leaf, 0)));
  nodes_[parent].children.pop_back();  // a count of 0 is the last
  release(leaf);
}

void SuffixTree::drop_oldest() {
  FORETELL_CHECK(!ends_.empty() && suffixes_.empty(), "{} sequences have ended, one of them is open: {}", ends_.size(),
                 !suffixes_.empty());
  const TokenSpan sequence =
      TokenSpan(text_).subspan(dropped_, static_cast<std::size_t>(ends_.front() - base_) - dropped_);
  std::vector<Node> path;
  for (std::size_t first = 0; first < sequence.size(); ++first) {
    path.clear();
    const TokenSpan suffix =
        sequence.subspan(first, std::min(sequence.size() - first, static_cast<std::size_t>(depth_)));
    for (std::size_t at = 0; at < suffix.size(); at += static_cast<std::size_t>(nodes_[path.back()].length)) {
      const Node* child = child_of_.find(key(path.empty() ? kRoot : path.back(), suffix[at]));
      FORETELL_CHECK(child, "a sequence of {} tokens is not in the tree at {} + {}", sequence.size(), first, at);
      path.push_back(*child);
    }
    for (auto node = path.rbegin(); node != path.rend(); ++node) {
      lower(*node);
      const NodeData& data = nodes_[*node];
      if (data.count == 0)
        remove(*node);
      else if (data.children.size() == 1 && nodes_[data.children.front()].count == data.count)
        absorb_parent(data.children.front());
    }
  }
  dropped_ += sequence.size();
  ends_.pop_front();
  if (2 * dropped_ < text_.size()) return;
  text_.erase(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(dropped_));
  base_ += static_cast<std::int64_t>(dropped_);
  dropped_ = 0;
}

bool SuffixTree::follow(Place& place, Token token) const {
  if (place.offset < nodes_[place.node].length) {
    if (this->token(place.node, place.offset) != token) return false;
    ++place.offset;
    return true;
  }
  const Node* child = child_of_.find(key(place.node, token));
  if (!child) return false;
  place = {*child, 1};
  return true;
}

namespace {

struct SuffixDecodingOptions {
  int max_tree_depth = 64;
  std::optional<int> num_speculative_tokens;
  double max_spec_factor = 1.0;
  double max_spec_offset = 0.0;
  double min_token_prob = 0.1;
  std::string mode = "path";
  bool global = true;
  int max_cached_requests = 100000;
  int max_cached_tokens = 1000000;
  void declare(Parameters& p) {
    p.add("max_tree_depth", max_tree_depth, "longest string that is counted: match and draft together",
          {.min = 2, .max = 1024, .aliases = {"suffix_decoding_max_tree_depth"}});
    p.add("num_speculative_tokens", num_speculative_tokens, "tokens drafted a round; without it max_tree_depth",
          {.min = 1, .max = 4096, .aliases = {"max_spec_tokens"}});
    p.add("max_spec_factor", max_spec_factor, "tokens drafted for each token that matched",
          {.min = 0, .max = 4096, .aliases = {"suffix_decoding_max_spec_factor"}});
    p.add("max_spec_offset", max_spec_offset, "added to that", {.min = -4096, .max = 4096});
    p.add("min_token_prob", min_token_prob, "least estimated probability of a drafted path",
          {.min = 0, .max = 1, .aliases = {"suffix_decoding_min_token_prob"}});
    p.add("mode", mode, "path: the most frequent continuation; tree: the most probable nodes",
          {.choices = {"path", "tree"}});
    p.add("global", global, "also count the responses of past requests");
    p.add("max_cached_requests", max_cached_requests, "of these, how many are kept",
          {.min = 1, .max = 100000000, .aliases = {"suffix_decoding_max_cached_requests"}});
    p.add("max_cached_tokens", max_cached_tokens, "and how many tokens of them", {.min = 1, .max = 100000000});
  }
  int drafted_at_most() const { return num_speculative_tokens.value_or(max_tree_depth); }
};

// What a tree proposes behind one match.
struct SuffixDraft {
  double score = 0;
  std::vector<DraftNode> items;  // the first is node 1 of the draft
  NodeId last() const { return static_cast<NodeId>(items.size()); }
};

class SuffixSpeculator {
 public:
  SuffixSpeculator(const SuffixDecodingOptions& options, const DraftBudget& budget)
      : options_(options), budget_(budget) {}

  // The tree's best draft behind `text`, if it scores more than `best`.
  void improve(const SuffixTree& tree, TokenSpan text, SuffixDraft& best) {
    const auto longest = static_cast<int>(std::min(text.size(), static_cast<std::size_t>(tree.depth())));
    for (int match = 1; match <= longest; ++match) {
      SuffixTree::Place place;
      bool found = true;
      for (std::size_t i = text.size() - static_cast<std::size_t>(match); found && i < text.size(); ++i)
        found = tree.follow(place, text[i]);
      if (!found) return;
      consider(tree, place, match, best);
    }
  }
  // The same for the open sequence's own text: its suffixes are places of the tree.
  void improve_own(const SuffixTree& tree, SuffixDraft& best) {
    int match = 0;
    for (auto suffix = tree.suffixes().rbegin(); suffix != tree.suffixes().rend(); ++suffix) {
      if (tree.children(*suffix).empty()) return;  // never seen before, and longer ones neither
      consider(tree, {*suffix, tree.length(*suffix)}, ++match, best);
    }
  }

 private:
  void consider(const SuffixTree& tree, SuffixTree::Place place, int match, SuffixDraft& best) {
    const double allowed = std::floor(options_.max_spec_factor * match + options_.max_spec_offset);
    const auto nodes =
        static_cast<int>(std::min(allowed, static_cast<double>(std::min(options_.drafted_at_most(), budget_.nodes))));
    if (nodes <= 0) return;
    draft_.score = 0;
    draft_.items.clear();
    if (options_.mode == "path")
      follow_path(tree, place, std::min(nodes, budget_.depth));
    else
      grow_tree(tree, place, nodes);
    if (draft_.score >= best.score && !draft_.items.empty()) std::swap(draft_, best);
  }

  void follow_path(const SuffixTree& tree, SuffixTree::Place place, int nodes) {
    double probability = 1;
    while (static_cast<int>(draft_.items.size()) < nodes) {
      if (place.offset == tree.length(place.node)) {
        const auto children = tree.children(place.node);
        if (children.empty()) return;
        probability *= static_cast<double>(tree.count(children.front())) / tree.count(place.node);
        if (probability < options_.min_token_prob) return;
        place = {children.front(), 0};
      }
      const int here = std::min(tree.length(place.node) - place.offset, nodes - static_cast<int>(draft_.items.size()));
      for (int i = 0; i < here; ++i) draft_.items.push_back({tree.token(place.node, place.offset++), draft_.last()});
      draft_.score += here * probability;
    }
  }

  struct Waiting {
    double probability;
    int order;  // equal probabilities: first come, first served
    NodeId parent;
    int depth;
    SuffixTree::Place behind;  // the token is the last before this place
    bool operator<(const Waiting& other) const {
      return probability != other.probability ? probability < other.probability : order > other.order;
    }
  };

  void grow_tree(const SuffixTree& tree, SuffixTree::Place root, int nodes) {
    std::priority_queue<Waiting> waiting;
    int order = 0;
    const auto push_children = [&](SuffixTree::Place place, NodeId parent, int depth, double probability) {
      if (depth > budget_.depth) return;
      if (place.offset < tree.length(place.node)) {
        waiting.push({probability, order++, parent, depth, {place.node, place.offset + 1}});
        return;
      }
      for (const SuffixTree::Node child : tree.children(place.node)) {
        const double path = probability * tree.count(child) / tree.count(place.node);
        if (path < options_.min_token_prob) break;  // the others are rarer still
        waiting.push({path, order++, parent, depth, {child, 1}});
      }
    };
    push_children(root, kAnchor, 1, 1.0);
    while (!waiting.empty() && static_cast<int>(draft_.items.size()) < nodes) {
      const Waiting best = waiting.top();
      waiting.pop();
      draft_.items.push_back({tree.token(best.behind.node, best.behind.offset - 1), best.parent});
      draft_.score += best.probability;
      push_children(best.behind, draft_.last(), best.depth + 1, best.probability);
    }
  }

  const SuffixDecodingOptions& options_;
  DraftBudget budget_;
  SuffixDraft draft_;
};

class SuffixDecodingDrafter final : public Drafter {
 public:
  using Options = SuffixDecodingOptions;
  SuffixDecodingDrafter(const Options& options, const BuildContext&)
      : options_(options), past_(options.max_tree_depth) {}

  DraftBudget limits() const override {
    const int nodes = options_.drafted_at_most();
    return {nodes, nodes, options_.mode == "tree" ? nodes : 1};
  }
  DraftForm form() const override { return {.tree = options_.mode == "tree", .point_mass = true}; }

  void begin(SlotId slot, const PromptView& prompt) override {
    Running& running = running_.insert_or_assign(slot, Running{SuffixTree(options_.max_tree_depth), {}}).first->second;
    for (const Token token : prompt.tokens) running.tree.append(token);
  }

  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override {
    std::vector<DraftTree> drafts;
    for (const DraftContext& context : batch) {
      SuffixSpeculator speculator(options_, context.budget);
      SuffixDraft best;
      if (options_.global) speculator.improve(past_, context.committed, best);
      speculator.improve_own(running_.at(context.slot).tree, best);
      DraftTree tree(context.committed.back());
      for (const DraftNode& item : best.items) tree.choose(item.parent, item.token, context.vocab);
      tree.expect(best.score);
      drafts.push_back(std::move(tree));
    }
    return drafts;
  }

  void observe(std::span<const RoundView> rounds) override {
    for (const RoundView& round : rounds) {
      Running& running = running_.at(round.slot);
      for (const Token token : round.committed.last(static_cast<std::size_t>(round.emitted))) {
        running.tree.append(token);
        running.response.push_back(token);
      }
    }
  }

  void end(SlotId slot) override {
    const auto running = running_.find(slot);
    if (running == running_.end()) return;
    if (options_.global) remember(running->second.response);
    running_.erase(running);
  }

 private:
  struct Running {
    SuffixTree tree;
    Tokens response;
  };

  void remember(const Tokens& response) {
    if (response.empty() || response.size() > static_cast<std::size_t>(options_.max_cached_tokens)) return;
    while (past_.sequences() > 0 &&
           (past_.sequences() >= static_cast<std::size_t>(options_.max_cached_requests) ||
            past_.tokens() + response.size() > static_cast<std::size_t>(options_.max_cached_tokens)))
      past_.drop_oldest();
    for (const Token token : response) past_.append(token);
    past_.end_sequence();
  }

  Options options_;
  SuffixTree past_;
  std::map<SlotId, Running> running_;
};

FORETELL_REGISTER(
    Drafter, SuffixDecodingDrafter, "suffix_decoding",
    {.summary = "copies the most frequent continuation, counted by suffix trees of this request and of past ones",
     .stateful = true,
     .paper = {"Oliaro et al.", 2024, "2411.04975"},
     .also_known_as = {"suffix"}});

}  // namespace
}  // namespace foretell::drafters
