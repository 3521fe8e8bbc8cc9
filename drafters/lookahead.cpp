// Lookahead decoding (Fu et al. 2024, arXiv 2402.02057): Jacobi iteration beside decoding collects n-grams, which are
// proposed when their first token comes.
//
// The window has N - 1 rows and W columns. Row 0 is a chain from the anchor, column 0 of it; below each of its nodes
// hangs its column, one token a row, so that row r of column j stands r + j tokens behind the anchor and sees row 0 up
// to column j and its own column: a tree of nodes that are scored and never proposed. What the target says behind the
// last row of a column is the column's next token: the column is shifted by it, and once all its tokens but the first
// came that way, the column and the new token are an n-gram (of column 0 the anchor is the first token). The pool keeps
// the newest G n-grams of each first token; those of the anchor are proposed as chosen tokens.
//
// Deviations from the released code: n-grams that begin alike share nodes; a guess that is accepted as a whole is
// followed by the target's own token (there its last position is lost); the text that the pool learns from is the text
// (there one wrong token, repeated). The window starts with pieces of the prompt chosen by the request's seed and id,
// all rows at once (there the rows are filled one a round), and stop tokens in it are replaced by tokens of the prompt.
// A budget that the whole window does not fit into gets the columns that do, the others wait. Memory of a sequence: (N
// - 1) W tokens, and at most min(G V, W a round and 1 a token of the text) n-grams of N - 1 tokens.
#include <algorithm>
#include <optional>
#include <unordered_map>

#include "framework/api/build_context.h"
#include "framework/api/drafter.h"
#include "framework/core/mix.h"
#include "framework/core/text.h"

namespace foretell::drafters {
namespace {

struct LookaheadOptions {
  int window = 7;
  int ngram = 5;
  int guess_set_size = 7;
  bool pool_from_prompt = true;
  void declare(Parameters& p) {
    p.add("window", window, "W: columns of the window",
          {.min = 1, .max = 512, .aliases = {"window_size", "WINDOW_SIZE"}});
    p.add("ngram", ngram, "N: tokens of an n-gram; the window has N - 1 rows",
          {.min = 2, .max = 64, .aliases = {"ngram_size", "level", "LEVEL"}});
    p.add("guess_set_size", guess_set_size, "G: n-grams kept and proposed for each first token",
          {.min = 1, .max = 512, .aliases = {"guess_size", "GUESS_SET_SIZE"}});
    p.add("pool_from_prompt", pool_from_prompt, "n-grams of the prompt and of the output go into the pool too",
          {.aliases = {"POOL_FROM_PROMPT"}});
    const int nodes = (ngram - 1) * (window + guess_set_size);
    if (nodes > 4096)
      throw Error(p.where(), fmt::format("the window and the guesses have {} a round, at most 4096 are allowed",
                                         counted(nodes, "node")));
  }
  std::size_t rows() const { return static_cast<std::size_t>(ngram - 1); }
};

// The newest continuations of each token.
class LookaheadPool {
 public:
  explicit LookaheadPool(int most) : most_(static_cast<std::size_t>(most)) {}

  void put(Token first, Tokens rest) {
    std::vector<Tokens>& known = pool_[first];
    const auto found = std::find(known.begin(), known.end(), rest);
    if (found != known.end())
      known.erase(found);
    else if (known.size() == most_)
      known.erase(known.begin());
    known.push_back(std::move(rest));
  }
  // From the oldest to the newest.
  std::span<const Tokens> of(Token first) const {
    const auto found = pool_.find(first);
    return found == pool_.end() ? std::span<const Tokens>() : std::span<const Tokens>(found->second);
  }

 private:
  std::size_t most_;
  std::unordered_map<Token, std::vector<Tokens>> pool_;
};

class LookaheadSequence final : public SequenceDrafter {
 public:
  LookaheadSequence(const LookaheadOptions& options, const PromptView& prompt)
      : options_(options), stop_tokens_(prompt.request.stop_tokens), pool_(options.guess_set_size) {
    for (const Token token : prompt.tokens)
      if (!stops(token)) prompt_.push_back(token);
    if (prompt_.empty()) prompt_.assign(prompt.tokens.begin(), prompt.tokens.end());
    random_ = mix64(prompt.request.seed ^ mix64(prompt.request.id));
    for (int j = 0; j < options.window; ++j) {
      const std::size_t start = next_place();
      Column column;
      for (std::size_t row = 0; row < options.rows(); ++row)
        column.tokens.push_back(prompt_[(start + row) % prompt_.size()]);
      columns_.push_back(std::move(column));
    }
  }

  DraftTree draft(const DraftContext& context) override {
    if (options_.pool_from_prompt) read_text(context.committed);
    DraftTree tree(context.committed.back());
    add_guesses(context, tree);
    add_window(context.budget, tree);
    return tree;
  }

  void observe(const RoundView& round) override {
    for (std::size_t j = 0; j < last_row_.size(); ++j) {
      Column& column = columns_[j];
      const Token next = round.scores.argmax(last_row_[j]);
      const Token first = j == 0 ? round.draft.node(kAnchor).token : column.tokens.front();
      column.tokens.erase(column.tokens.begin());
      if (++column.age >= options_.ngram - 1) {
        Tokens rest = column.tokens;
        rest.push_back(next);
        pool_.put(first, std::move(rest));
      }
      column.tokens.push_back(stops(next) ? prompt_[next_place()] : next);
    }
  }

 private:
  struct Column {
    Tokens tokens = {};  // by row; row 0 of the first column is not read: the anchor stands there
    int age = 0;         // rounds that it was scored in
  };

  bool stops(Token token) const {
    return std::find(stop_tokens_.begin(), stop_tokens_.end(), token) != stop_tokens_.end();
  }
  std::size_t next_place() { return (random_ = mix64(random_)) % prompt_.size(); }

  void read_text(TokenSpan text) {
    const auto length = static_cast<std::size_t>(options_.ngram);
    for (; read_ + length <= text.size(); ++read_) {
      const TokenSpan rest = text.subspan(read_ + 1, length - 1);
      pool_.put(text[read_], Tokens(rest.begin(), rest.end()));
    }
  }

  void add_guesses(const DraftContext& context, DraftTree& tree) const {
    const auto guesses = pool_.of(tree.node(kAnchor).token);
    const auto depth = static_cast<std::size_t>(std::max(context.budget.depth, 0));
    for (auto guess = guesses.rbegin(); guess != guesses.rend(); ++guess) {
      NodeId at = kAnchor;
      for (std::size_t i = 0; i < std::min(guess->size(), depth); ++i) {
        const auto shared = tree.child(at, (*guess)[i]);
        if (!shared && tree.size() > context.budget.nodes) break;
        at = shared ? *shared : tree.choose(at, (*guess)[i], context.vocab);
      }
    }
  }

  // As many columns as the budget has nodes and depth for.
  void add_window(const DraftBudget& budget, DraftTree& tree) {
    const int rows = options_.ngram - 1, nodes = budget.nodes - (tree.size() - 1);
    const int columns = std::min({options_.window, budget.depth - (rows - 1) + 1, (nodes + 1) / rows});
    last_row_.clear();
    NodeId top = kAnchor;
    for (int j = 0; j < columns; ++j) {
      const Tokens& column = columns_[static_cast<std::size_t>(j)].tokens;
      if (j > 0) top = tree.add(top, column.front());
      NodeId at = top;
      for (std::size_t row = 1; row < column.size(); ++row) at = tree.add(at, column[row]);
      last_row_.push_back(at);
    }
  }

  LookaheadOptions options_;
  std::vector<Token> stop_tokens_;
  LookaheadPool pool_;
  Tokens prompt_;  // without stop tokens: what the window is filled from
  std::uint64_t random_;
  std::vector<Column> columns_;
  std::vector<NodeId> last_row_;  // of the columns that this round scores
  std::size_t read_ = 0;          // n-grams of the text that are in the pool
};

class LookaheadDrafter final : public PerSequenceDrafter {
 public:
  using Options = LookaheadOptions;
  LookaheadDrafter(const Options& options, const BuildContext&) : options_(options) {}

  DraftBudget limits() const override {
    const int rows = options_.ngram - 1, nodes = rows * (options_.window + options_.guess_set_size) - 1;
    return {nodes, std::max(rows, options_.window + rows - 2), nodes};
  }
  DraftForm form() const override { return {.tree = options_.guess_set_size > 1, .point_mass = true}; }

 private:
  std::unique_ptr<SequenceDrafter> open(const PromptView& prompt) override {
    return std::make_unique<LookaheadSequence>(options_, prompt);
  }

  Options options_;
};

FORETELL_REGISTER(Drafter, LookaheadDrafter, "lookahead",
                  {.summary = "n-grams out of Jacobi iteration in a window beside decoding (Lookahead)",
                   .needs_logits = true,
                   .paper = {"Fu et al.", 2024, "2402.02057"},
                   .also_known_as = {"Lookahead decoding"},
                   .taxonomy = {.xia2024 = "self-drafting: mask-predict and n-grams"}});

}  // namespace
}  // namespace foretell::drafters
