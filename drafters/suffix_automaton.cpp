// Copies what followed the first occurrence of the longest suffix that occurred before (SAM decoding, Hu et al. 2024,
// arXiv 2411.10666).
//
// A suffix automaton over prompt and output finds, whatever its length, the longest suffix of the text that occurred
// earlier; the draft is what followed it there, n = min(n_predicts, 1 + floor(alpha * match length)) tokens. Where
// fewer than n_predicts tokens follow that occurrence, shorter suffixes are tried, whose first occurrences lie further
// back. A second automaton, over a corpus, is optional: its match is used if it is longer by more than `length_bias`,
// and its draft is a tree, best first by the product of count(child) / count(parent).
//
// Deviations from the released code: the longest match is read off the automaton (the link of its newest state) instead
// of being followed by a second pointer, which can be left behind when a state is split. Shorter suffixes end with the
// shortest that matched, never with the empty one. There is no built-in second drafter for short matches; `min_match`
// only says when nothing is drafted. Memory: at most about 300 bytes a token of a sequence, freed with it, and as much
// for each of the first `corpus_tokens` tokens of the corpus.
#include "drafters/suffix_automaton.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <queue>

#include "framework/api/build_context.h"
#include "framework/api/drafter.h"
#include "framework/core/error.h"
#include "framework/datasets/corpus.h"

namespace foretell::drafters {

SuffixAutomaton::SuffixAutomaton() : states_(1) {}

std::optional<SuffixAutomaton::State> SuffixAutomaton::next(State state, Token token) const {
  const int* edge = edge_of_.find(key(state, token));
  return edge ? std::optional(edges_[*edge].edge.to) : std::nullopt;
}

std::optional<Token> SuffixAutomaton::token(int position) const {
  const Token symbol = text_[position];
  return symbol == kEndOfDocument ? std::nullopt : std::optional(symbol);
}

void SuffixAutomaton::append(Token token) {
  FORETELL_CHECK(token >= 0, "token {}", token);
  push(token);
}

void SuffixAutomaton::end_document() { push(kEndOfDocument); }

std::pair<int, bool> SuffixAutomaton::edge_or_add(State from, Token symbol, State to) {
  const auto fresh = static_cast<int>(edges_.size());
  const auto [edge, added] = edge_of_.insert(key(from, symbol), fresh);
  if (added) {
    edges_.push_back({{symbol, to}, states_[from].first_edge});
    states_[from].first_edge = fresh;
  }
  return {*edge, added};
}

void SuffixAutomaton::push(Token symbol) {
  const auto added = static_cast<State>(states_.size());
  states_.push_back({.length = states_[last_].length + 1, .first_end = size()});
  text_.push_back(symbol);
  State at = std::exchange(last_, added);
  while (true) {
    const auto [edge, is_new] = edge_or_add(at, symbol, added);
    if (!is_new) {
      const State to = edges_[edge].edge.to;
      states_[added].link = states_[to].length == states_[at].length + 1 ? to : split(at, symbol, to);
      return;
    }
    if (at == kRoot) return;
    at = states_[at].link;
  }
}

// `to` stands for longer strings than those that come from `from`: the shorter ones, which now end at one place more,
// become a state of their own.
SuffixAutomaton::State SuffixAutomaton::split(State from, Token symbol, State to) {
  const auto clone = static_cast<State>(states_.size());
  states_.push_back({.length = states_[from].length + 1, .link = states_[to].link, .first_end = states_[to].first_end});
  for (int edge = states_[to].first_edge; edge != kNoEdge; edge = edges_[edge].next) {
    const Edge copied = edges_[edge].edge;
    edge_or_add(clone, copied.token, copied.to);
  }
  states_[to].link = clone;
  while (true) {
    ListedEdge& edge = edges_[*edge_of_.find(key(from, symbol))];
    if (edge.edge.to != to) break;
    edge.edge.to = clone;
    if (from == kRoot) break;
    from = states_[from].link;
  }
  return clone;
}

void SuffixAutomaton::count() {
  counts_.assign(states_.size(), 0);
  // Every prefix of the text is the longest string of its own state.
  for (State state = kRoot; const Token symbol : text_) counts_[state = *next(state, symbol)] = 1;
  std::vector<State> by_length(states_.size());
  std::iota(by_length.begin(), by_length.end(), kRoot);
  std::stable_sort(by_length.begin(), by_length.end(), [&](State a, State b) { return length(a) > length(b); });
  for (const State state : by_length)
    if (state != kRoot) counts_[link(state)] += counts_[state];
  std::vector<int> places;
  for (StateData& state : states_) {
    places.clear();
    for (int edge = state.first_edge; edge != kNoEdge; edge = edges_[edge].next) places.push_back(edge);
    std::sort(places.begin(), places.end(), [&](int a, int b) {
      const Edge &left = edges_[a].edge, &right = edges_[b].edge;
      return counts_[left.to] != counts_[right.to] ? counts_[left.to] > counts_[right.to] : left.token < right.token;
    });
    state.first_edge = kNoEdge;
    for (auto place = places.rbegin(); place != places.rend(); ++place) {
      edges_[*place].next = state.first_edge;
      state.first_edge = *place;
    }
  }
}

std::vector<SuffixAutomaton::Edge> SuffixAutomaton::frequent_edges(State state, int at_most) const {
  std::vector<Edge> out;
  for (int edge = states_[state].first_edge; edge != kNoEdge && static_cast<int>(out.size()) < at_most;
       edge = edges_[edge].next)
    if (edges_[edge].edge.token != kEndOfDocument) out.push_back(edges_[edge].edge);
  return out;
}

namespace {

struct SuffixAutomatonOptions {
  int num_speculative_tokens = 40;
  double alpha = 4.0;
  int min_match = 1;
  bool climb = true;
  std::optional<std::string> corpus;
  int corpus_tokens = 1000000;
  int width = 8;
  int length_bias = 5;
  void declare(Parameters& p) {
    p.add("num_speculative_tokens", num_speculative_tokens, "tokens drafted a round",
          {.min = 1, .max = 4096, .aliases = {"n_predicts"}});
    p.add("alpha", alpha, "a match of length m is continued by at most 1 + floor(alpha * m) tokens",
          {.min = 0, .max = 4096});
    p.add("min_match", min_match, "shortest match that is continued",
          {.min = 1, .max = 4096, .aliases = {"len_threshold"}});
    p.add("climb", climb, "where too few tokens follow the match, try shorter ones that ended earlier",
          {.aliases = {"to_anc"}});
    p.add("corpus", corpus, "a file for a second automaton: plain text, or FastChat's answer rows (.jsonl)");
    p.add("corpus_tokens", corpus_tokens, "tokens of it that are read", {.min = 1, .max = 100000000});
    p.add("width", width, "of the corpus's trees: nodes a depth", {.min = 1, .max = 64, .aliases = {"topk"}});
    p.add("length_bias", length_bias, "by how much a match in the corpus must be longer than one in the text",
          {.min = 0, .max = 4096, .aliases = {"len_bias"}});
  }
};

std::shared_ptr<const SuffixAutomaton> automaton_of_corpus(const SuffixAutomatonOptions& options,
                                                           const BuildContext& context) {
  if (!options.corpus) return nullptr;
  if (!context.tokenizer) fail("drafter 'suffix_automaton': corpus needs the target's tokenizer; this target has none");
  const auto automaton = std::make_shared<SuffixAutomaton>();
  for (const Tokens& document :
       datasets::read_corpus(context.file(*options.corpus), *context.tokenizer, options.corpus_tokens)) {
    for (const Token token : document) automaton->append(token);
    automaton->end_document();
  }
  if (automaton->size() == 0) fail("{}: holds no text", *options.corpus);
  automaton->count();
  return automaton;
}

class AutomatonSequence final : public SequenceDrafter {
 public:
  AutomatonSequence(const SuffixAutomatonOptions& options, std::shared_ptr<const SuffixAutomaton> corpus)
      : options_(options), corpus_(std::move(corpus)) {}

  DraftTree draft(const DraftContext& context) override {
    for (const Token token : context.committed.subspan(static_cast<std::size_t>(text_.size()))) {
      text_.append(token);
      if (corpus_) follow(token);
    }
    DraftTree tree(context.committed.back());
    const int own_match = text_.length(text_.longest_repeat());
    const int corpus_match = corpus_match_ - options_.length_bias;
    if (std::max(own_match, corpus_match) < options_.min_match) return tree;
    if (own_match >= corpus_match)
      copy_chain(tree, context, own_match);
    else
      grow_tree(tree, context, corpus_match);
    return tree;
  }

 private:
  // The longest suffix of the text that the corpus has, one token further.
  void follow(Token token) {
    while (true) {
      if (const auto next = corpus_->next(corpus_state_, token)) {
        corpus_state_ = *next;
        ++corpus_match_;
        return;
      }
      if (corpus_state_ == SuffixAutomaton::kRoot) return;
      corpus_state_ = corpus_->link(corpus_state_);
      corpus_match_ = corpus_->length(corpus_state_);
    }
  }

  int length_after(int match, const DraftContext& context) const {
    const double wanted = 1.0 + std::floor(options_.alpha * match);
    return static_cast<int>(
        std::min({wanted, static_cast<double>(options_.num_speculative_tokens),
                  static_cast<double>(context.budget.nodes), static_cast<double>(context.budget.depth)}));
  }

  void copy_chain(DraftTree& tree, const DraftContext& context, int match) const {
    SuffixAutomaton::State state = text_.longest_repeat();
    const auto follows = [&] { return text_.size() - 1 - text_.first_end(state); };
    while (options_.climb && follows() < options_.num_speculative_tokens && text_.link(state) != SuffixAutomaton::kRoot)
      state = text_.link(state);
    const int from = text_.first_end(state) + 1;
    const int end = std::min(text_.size(), from + length_after(match, context));
    NodeId at = kAnchor;
    for (int position = from; position < end; ++position) at = tree.choose(at, *text_.token(position), context.vocab);
  }

  struct Growing {
    double probability;
    int order;  // equal probabilities: first come, first served
    NodeId parent;
    SuffixAutomaton::Edge edge;
    bool operator<(const Growing& other) const {
      return probability != other.probability ? probability < other.probability : order > other.order;
    }
  };

  void grow_tree(DraftTree& tree, const DraftContext& context, int match) const {
    const double wanted = 1.0 + std::floor(options_.alpha * match);
    const auto nodes = static_cast<int>(
        std::min(wanted, static_cast<double>(std::min(options_.num_speculative_tokens, context.budget.nodes))));
    const int width = std::min(options_.width, context.budget.width);
    std::vector<int> at_depth(static_cast<std::size_t>(context.budget.depth) + 1, 0);
    std::priority_queue<Growing> waiting;
    int order = 0;
    const auto push_children = [&](NodeId parent, SuffixAutomaton::State state, double probability) {
      if (tree.depth(parent) >= context.budget.depth) return;
      const double occurrences = corpus_->occurrences(state);
      for (const auto& edge : corpus_->frequent_edges(state, width))
        waiting.push({probability * corpus_->occurrences(edge.to) / occurrences, order++, parent, edge});
    };
    push_children(kAnchor, corpus_state_, 1.0);
    while (!waiting.empty() && tree.size() - 1 < nodes) {
      const Growing best = waiting.top();
      waiting.pop();
      int& there = at_depth[static_cast<std::size_t>(tree.depth(best.parent)) + 1];
      if (there == width) continue;
      ++there;
      push_children(tree.choose(best.parent, best.edge.token, context.vocab), best.edge.to, best.probability);
    }
  }

  SuffixAutomatonOptions options_;
  SuffixAutomaton text_;
  std::shared_ptr<const SuffixAutomaton> corpus_;
  SuffixAutomaton::State corpus_state_ = SuffixAutomaton::kRoot;
  int corpus_match_ = 0;
};

class SuffixAutomatonDrafter final : public PerSequenceDrafter {
 public:
  using Options = SuffixAutomatonOptions;
  SuffixAutomatonDrafter(const Options& options, const BuildContext& context)
      : options_(options), corpus_(automaton_of_corpus(options, context)) {}
  DraftBudget limits() const override {
    return {options_.num_speculative_tokens, options_.num_speculative_tokens, corpus_ ? options_.width : 1};
  }
  DraftForm form() const override { return {.tree = corpus_ != nullptr, .point_mass = true}; }

 private:
  std::unique_ptr<SequenceDrafter> open(const PromptView&) override {
    return std::make_unique<AutomatonSequence>(options_, corpus_);
  }
  Options options_;
  std::shared_ptr<const SuffixAutomaton> corpus_;
};

FORETELL_REGISTER(Drafter, SuffixAutomatonDrafter, "suffix_automaton",
                  {.summary = "copies what followed the longest repeated suffix, found by a suffix automaton; "
                              "optionally one over a corpus",
                   .paper = {"Hu et al.", 2024, "2411.10666"},
                   .also_known_as = {"SAM decoding"}});

}  // namespace
}  // namespace foretell::drafters
