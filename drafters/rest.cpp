// Retrieval-based speculative decoding (He et al. 2023, arXiv 2311.08252): what followed the newest tokens in a corpus,
// as a tree.
//
// The last m tokens are looked up in the datastore, for m from the longest down to the shortest; the first m that is
// found with a continuation counts. Of its continuations the most frequent prefixes are drafted, as a tree or, with
// draft: chain, the most frequent child again and again. All proposals are chosen tokens. Without a datastore the
// prompt itself is the corpus (retrieval-augmented prompts, documents to be edited).
//
// Occurrences lie in the suffix array in the order of their continuations, so a prefix's count is the length of a run:
// the search takes the prefix of the highest count first and splits its run by the next token. Nothing is counted in a
// table, and only what is drafted is looked at. Deviations from the released code: tokens have 32 bits (its 16 cannot
// hold larger vocabularies); where there are more than max_occurrences, evenly spaced ones are taken, not the first of
// the array, which all continue with low token ids; prefixes of one count are ordered by depth, then by tokens, and cut
// at the number of nodes; without a hit nothing is drafted; any verifier may decide (the sampling of the released one
// is not exact). Memory: the datastore, 8 bytes a token, shared by all sequences (mapped); without one 8 bytes a prompt
// token of each running sequence.
#include <algorithm>
#include <memory>
#include <optional>

#include "framework/api/build_context.h"
#include "framework/api/drafter.h"
#include "framework/core/error.h"
#include "framework/datasets/datastore.h"

namespace foretell::drafters {
namespace {

struct RestOptions {
  std::optional<std::string> datastore;
  int longest = 16;
  int shortest = 2;
  int max_occurrences = 5000;
  int num_speculative_tokens = 10;
  int nodes = 64;
  std::string draft = "tree";
  void declare(Parameters& p) {
    p.add("datastore", datastore,
          "file made by `foretell datastore build`; none: the prompt of each request is the corpus",
          {.aliases = {"datastore_path"}});
    p.add("longest_match", longest, "longest suffix that is looked up",
          {.min = 1, .max = 256, .aliases = {"max_token_span"}});
    p.add("shortest_match", shortest, "shortest suffix that is looked up", {.min = 1, .max = 256});
    p.add("max_occurrences", max_occurrences, "occurrences that are looked at; of more, evenly spaced ones",
          {.min = 1, .max = 1e9});
    p.add("num_speculative_tokens", num_speculative_tokens, "tokens of a continuation", {.min = 1, .max = 256});
    p.add("num_nodes", nodes, "most frequent prefixes that are drafted",
          {.min = 1, .max = 4096, .aliases = {"num_draft", "choices"}});
    p.add("draft", draft, "all frequent continuations, or one", {.choices = {"tree", "chain"}});
    if (shortest > longest)
      throw Error(p.where(), fmt::format("shortest_match {} is above longest_match {}", shortest, longest));
  }
  bool chain() const { return draft == "chain"; }
};

// The occurrences of one pattern, in the order of what follows them; evenly spaced ones where there are too many.
class Occurrences {
 public:
  Occurrences(const datasets::Datastore& store, datasets::Datastore::Ranks ranks, std::size_t length, std::size_t most)
      : store_(store), ranks_(ranks), length_(length), count_(std::min(ranks.count(), most)) {}

  std::size_t count() const { return count_; }
  // The token at `depth` behind an occurrence, from 0; none where the document ends.
  std::optional<Token> token(std::size_t occurrence, int depth) const {
    const std::size_t rank = ranks_.first + occurrence * ranks_.count() / count_;
    const std::size_t position = store_.suffix(rank) + length_ + static_cast<std::size_t>(depth);
    if (position >= store_.size()) return std::nullopt;
    const Token token = store_.token(position);
    return token == store_.boundary() ? std::nullopt : std::optional(token);
  }
  // The end of the run that starts at `first` and has `token` (or an end) at `depth`: strides that double, then halves.
  std::size_t run_end(std::size_t first, std::size_t last, int depth, std::optional<Token> token) const {
    std::size_t inside = first, stride = 1;
    for (; inside + stride < last && this->token(inside + stride, depth) == token; stride *= 2) inside += stride;
    std::size_t outside = std::min(inside + stride, last);
    while (inside + 1 < outside) {
      const std::size_t middle = inside + (outside - inside) / 2;
      (this->token(middle, depth) == token ? inside : outside) = middle;
    }
    return outside;
  }

 private:
  const datasets::Datastore& store_;
  datasets::Datastore::Ranks ranks_;
  std::size_t length_, count_;
};

// A prefix of continuations: the run of occurrences that have it.
struct Prefix {
  std::size_t first, last;
  NodeId parent;
  Token token;
  int depth;  // of its node
  std::size_t count() const { return last - first; }
};

// Whether b is drafted before a: more often, then shorter, then lower tokens.
bool drafted_later(const Prefix& a, const Prefix& b) {
  if (a.count() != b.count()) return a.count() < b.count();
  if (a.depth != b.depth) return a.depth > b.depth;
  return a.first > b.first;
}

class Retrieval final : public SequenceDrafter {
 public:
  Retrieval(const RestOptions& options, datasets::Datastore store) : options_(options), store_(std::move(store)) {}

  DraftTree draft(const DraftContext& context) override {
    const TokenSpan text = context.committed;
    const int longest = std::min(options_.longest, static_cast<int>(text.size()));
    DraftTree tree(text.back());
    for (int length = longest; length >= options_.shortest && tree.size() == 1; --length) {
      const TokenSpan pattern = text.last(static_cast<std::size_t>(length));
      const datasets::Datastore::Ranks ranks = store_.find(pattern);
      if (ranks.count() == 0) continue;
      add_prefixes(Occurrences(store_, ranks, pattern.size(), static_cast<std::size_t>(options_.max_occurrences)),
                   context, tree);
    }
    return tree;
  }

 private:
  void add_prefixes(const Occurrences& found, const DraftContext& context, DraftTree& tree) const {
    const int depth = std::min(options_.num_speculative_tokens, context.budget.depth);
    const int nodes = std::min(options_.chain() ? depth : options_.nodes, context.budget.nodes);
    std::vector<Prefix> heap;
    split(found, {0, found.count(), kAnchor, 0, 0}, kAnchor, heap);
    while (!heap.empty() && depth > 0 && tree.size() - 1 < nodes) {
      std::pop_heap(heap.begin(), heap.end(), drafted_later);
      const Prefix next = heap.back();
      heap.pop_back();
      const NodeId node = tree.choose(next.parent, next.token, context.vocab);
      if (options_.chain()) heap.clear();
      if (next.depth < depth) split(found, next, node, heap);
    }
  }

  // Adds the prefixes that are one token longer.
  static void split(const Occurrences& found, const Prefix& prefix, NodeId node, std::vector<Prefix>& heap) {
    for (std::size_t first = prefix.first; first < prefix.last;) {
      const auto token = found.token(first, prefix.depth);
      const std::size_t end = found.run_end(first, prefix.last, prefix.depth, token);
      if (token) {
        heap.push_back({first, end, node, *token, prefix.depth + 1});
        std::push_heap(heap.begin(), heap.end(), drafted_later);
      }
      first = end;
    }
  }

  RestOptions options_;
  datasets::Datastore store_;
};

class RestDrafter final : public PerSequenceDrafter {
 public:
  using Options = RestOptions;
  RestDrafter(const Options& options, const BuildContext& context) : options_(options), vocab_(context.vocab) {
    if (!options.datastore) return;
    store_ = datasets::Datastore::open(context.file(*options.datastore));
    if (store_->vocab() > vocab_)
      fail("{}: was built for a vocabulary of {} tokens, the target has {}: build it with the target's tokenizer",
           *options.datastore, store_->vocab(), vocab_);
  }

  DraftBudget limits() const override {
    if (options_.chain()) return {options_.num_speculative_tokens, options_.num_speculative_tokens, 1};
    return {options_.nodes, options_.num_speculative_tokens, options_.nodes};
  }
  DraftForm form() const override { return {.tree = !options_.chain(), .point_mass = true}; }

 private:
  std::unique_ptr<SequenceDrafter> open(const PromptView& prompt) override {
    return std::make_unique<Retrieval>(options_, store_ ? *store_ : datasets::Datastore::build(vocab_, prompt.tokens));
  }

  Options options_;
  int vocab_;
  std::optional<datasets::Datastore> store_;
};

FORETELL_REGISTER(Drafter, RestDrafter, "rest",
                  {.summary = "retrieves what followed the newest tokens in a corpus (REST)",
                   .paper = {"He et al.", 2023, "2311.08252"},
                   .taxonomy = {.xia2024 = "independent drafting: context retrieval"}});

}  // namespace
}  // namespace foretell::drafters
