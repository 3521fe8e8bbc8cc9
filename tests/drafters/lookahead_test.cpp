// Lookahead against a simulation that keeps the window as rows, as the paper draws it, and asks the toy model for every
// row's token directly.
#include <deque>
#include <map>

#include "experiments/certify/checks.h"
#include "framework/core/error.h"
#include "framework/core/mix.h"
#include "tests/drafters/retrieval_drafting.h"
#include "tests/support/catch.h"

namespace foretell::testing {
namespace {

using namespace certify;

class LookaheadReference {
 public:
  LookaheadReference(int window, int ngram, int guesses, const Request& request, const ToyModel& model)
      : window_(window), ngram_(ngram), guesses_(guesses), request_(request), model_(model) {
    for (const Token token : request.prompt)
      if (!stops(token)) filling_.push_back(token);
    random_ = mix64(request.seed ^ mix64(request.id));
    rows_.assign(static_cast<std::size_t>(ngram - 1), Tokens(static_cast<std::size_t>(window)));
    for (int j = 0; j < window; ++j) {
      const std::size_t start = place();
      for (std::size_t row = 0; row < rows_.size(); ++row)
        rows_[row][static_cast<std::size_t>(j)] = filling_[(start + row) % filling_.size()];
    }
  }

  // What row `row` of column `j` sees behind the committed tokens: row 0 up to the column, then its own column.
  Tokens path(int row, int j) const {
    Tokens path(rows_[0].begin() + 1, rows_[0].begin() + 1 + j);
    for (int r = 1; r <= row; ++r) path.push_back(rows_[static_cast<std::size_t>(r)][static_cast<std::size_t>(j)]);
    return path;
  }

  std::set<Tokens> window_paths() const {
    std::set<Tokens> paths;
    for (int row = 0; row < ngram_ - 1; ++row)
      for (int j = 0; j < window_; ++j) paths.insert(path(row, j));
    paths.erase(Tokens{});
    return paths;
  }
  std::set<Tokens> guess_paths(Token anchor, int depth) const {
    std::set<Tokens> paths;
    const auto found = pool_.find(anchor);
    if (found == pool_.end()) return paths;
    for (const Tokens& guess : found->second)
      for (int n = 1; n <= std::min<int>(depth, static_cast<int>(guess.size())); ++n)
        paths.insert(Tokens(guess.begin(), guess.begin() + n));
    return paths;
  }

  // After a round that started with `text`, scoring the whole window.
  void advance(const Tokens& text) {
    Tokens next;
    for (int j = 0; j < window_; ++j) {
      Tokens seen = text;
      const Tokens behind = path(ngram_ - 2, j);
      seen.insert(seen.end(), behind.begin(), behind.end());
      next.push_back(argmax_checked(model_.logits_after(seen)));
    }
    if (++rounds_ >= ngram_ - 1)
      for (int j = 0; j < window_; ++j) {
        Tokens rest;
        for (int row = 1; row < ngram_ - 1; ++row)
          rest.push_back(rows_[static_cast<std::size_t>(row)][static_cast<std::size_t>(j)]);
        rest.push_back(next[static_cast<std::size_t>(j)]);
        put(j == 0 ? text.back() : rows_[0][static_cast<std::size_t>(j)], rest);
      }
    rows_.erase(rows_.begin());
    for (Token& token : next)
      if (stops(token)) token = filling_[place()];
    rows_.push_back(next);
  }

  void put(Token first, const Tokens& rest) {
    std::deque<Tokens>& known = pool_[first];
    std::erase(known, rest);
    known.push_back(rest);
    if (static_cast<int>(known.size()) > guesses_) known.pop_front();
  }

 private:
  bool stops(Token token) const {
    return std::find(request_.stop_tokens.begin(), request_.stop_tokens.end(), token) != request_.stop_tokens.end();
  }
  std::size_t place() { return (random_ = mix64(random_)) % filling_.size(); }

  int window_, ngram_, guesses_;
  Request request_;
  const ToyModel& model_;
  Tokens filling_;
  std::uint64_t random_;
  std::vector<Tokens> rows_;
  std::map<Token, std::deque<Tokens>> pool_;
  int rounds_ = 0;
};

struct LookaheadForm {
  int window, ngram, guesses;
};

std::string lookahead_yaml(const LookaheadForm& form, bool from_prompt) {
  return fmt::format("{{type: lookahead, window: {}, ngram: {}, guess_set_size: {}, pool_from_prompt: {}}}",
                     form.window, form.ngram, form.guesses, from_prompt);
}

TEST_CASE("lookahead's window and pool are those of a direct simulation") {
  const auto target = toy_target();
  for (const LookaheadForm form : {LookaheadForm{7, 5, 7}, {1, 3, 2}, {4, 2, 3}, {3, 6, 1}}) {
    for (const Token stop : {-1, 4}) {
      Request request{.id = 3, .prompt = {1, 2, 4, 7, 1, 2, 5}, .max_new_tokens = 150, .seed = 9};
      if (stop >= 0) request.stop_tokens = {stop};
      LookaheadReference reference(form.window, form.ngram, form.guesses, request, *target);
      const Setup setup = toy_setup(lookahead_yaml(form, false), "rejection", "", target);
      int checked = 0;
      bool whole = true, proposals = true;
      RunOptions options;
      options.decoder.on_round = [&](const RoundEvent& event) {
        const DraftTree& draft = event.view.draft;
        Tokens before(event.view.committed.begin(), event.view.committed.end() - event.view.emitted);
        const int room = request.max_new_tokens - static_cast<int>(before.size() - request.prompt.size()) - 1;
        if (room < form.window + form.ngram - 3) return;  // the last rounds have no room for the whole window
        const auto guesses = reference.guess_paths(before.back(), std::min(form.ngram - 1, room));
        std::set<Tokens> all = reference.window_paths();
        all.insert(guesses.begin(), guesses.end());
        whole = whole && node_paths(draft) == all;
        proposals = proposals && proposal_paths(draft) == guesses;
        reference.advance(before);
        ++checked;
      };
      const Generation out = run(setup, {request}, options).front();
      INFO("W " << form.window << ", N " << form.ngram << ", G " << form.guesses << ", stop " << stop);
      CHECK(whole);
      CHECK(proposals);
      CHECK(out.tokens == reference_greedy(*target, request));
      if (stop < 0) CHECK(checked > 15);
    }
  }
}

TEST_CASE("lookahead takes n-grams of prompt and output if it is told to, the newest for each token") {
  HandDriven driven("{type: lookahead, window: 2, ngram: 3, guess_set_size: 2}", 9);
  driven.begin({1, 2, 3, 1, 4, 5, 1, 6, 7, 1});
  CHECK(proposal_paths(driven.draft()) == std::set<Tokens>{{6}, {6, 7}, {4}, {4, 5}});
  const DraftTree tree = driven.draft();
  HandScores scores(
      std::vector<std::vector<float>>(static_cast<std::size_t>(tree.size()), {1, 0, 0, 0, 0, 0, 0, 0, 0}));
  driven.observe(tree, scores, Tokens{2, 3, 1});  // an old one comes back and is the newest again
  CHECK(proposal_paths(driven.draft()) == std::set<Tokens>{{2}, {2, 3}, {6}, {6, 7}});
}

TEST_CASE("a guess that is right as a whole gives all its tokens and the target's own") {
  const auto target = toy_target();
  const Request request{.prompt = {1, 2, 3}, .max_new_tokens = 300};
  int most = 0;
  RunOptions options;
  options.decoder.on_round = [&](const RoundEvent& event) { most = std::max(most, event.record.emitted); };
  run(toy_setup("{type: lookahead, ngram: 4}", "rejection", "", target), {request}, options);
  CHECK(most == 4);
}

TEST_CASE("lookahead keeps to its budget, and what does not fit waits") {
  HandDriven driven("{type: lookahead, window: 6, ngram: 4, guess_set_size: 3}", 9);
  driven.begin({1, 2, 3, 4, 1, 2, 5, 6, 1, 7, 8, 3, 1});
  for (int nodes = 0; nodes < 30; ++nodes)
    for (int depth = 0; depth < 12; ++depth) {
      const DraftTree tree = driven.draft(DraftBudget{nodes, depth, nodes});
      CHECK(tree.size() - 1 <= nodes);
      CHECK(tree.depth() <= depth);
      HandScores scores(
          std::vector<std::vector<float>>(static_cast<std::size_t>(tree.size()), {0, 0, 0, 1, 0, 0, 0, 0, 0}));
      driven.observe(tree, scores, Tokens{1});
    }
  const DraftBudget limits = driven.drafter().limits();
  CHECK(limits.nodes == 6 * 3 - 1 + 3 * 3);
  CHECK(limits.depth == 6 + 3 - 2);
  CHECK(driven.drafter().traits().needs_logits);
  CHECK_THROWS_WITH(HandDriven("{type: lookahead, LEVEL: 64, WINDOW_SIZE: 60}", 9),
                    Catch::Contains("4221 nodes a round"));
}

TEST_CASE("lookahead is lossless with a window and guesses of any size") {
  for (const LookaheadForm form : {LookaheadForm{2, 3, 2}, {1, 2, 1}, {3, 2, 4}})
    for (const char* verifier : {"rejection", "traversal", "sample_then_match"}) {
      const Setup setup = toy_setup(lookahead_yaml(form, true), verifier, "", toy_target(3));
      CHECK(check_exact(setup).value_or("") == "");
    }
}

}  // namespace
}  // namespace foretell::testing
