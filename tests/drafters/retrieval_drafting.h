// Drives one drafter by hand, without a target: for tests of those that draw on text and on scores.
#pragma once

#include <set>

#include "framework/api/build_context.h"
#include "framework/api/drafter.h"
#include "framework/api/policy.h"
#include "framework/core/config_value.h"
#include "tests/support/rooms.h"

namespace foretell::testing {

// A table of logits by node.
class HandScores final : public Scores {
 public:
  explicit HandScores(std::vector<std::vector<float>> rows) : rows_(std::move(rows)) {}
  Token argmax(NodeId node) override { return argmax_checked(rows_.at(node)); }
  const Distribution& distribution(NodeId node) override {
    distribution_ = Distribution::point_mass(static_cast<int>(rows_.at(node).size()), argmax(node));
    return *distribution_;
  }
  std::span<const float> logits(NodeId node) override { return rows_.at(node); }

 private:
  std::vector<std::vector<float>> rows_;
  std::optional<Distribution> distribution_;
};

class HandDriven {
 public:
  HandDriven(const std::string& drafter, int vocab)
      : vocab_(vocab),
        sampler_({}, vocab),
        rng_({}),
        policy_(Registry<DraftPolicy>::instance().make(ConfigValue::scalar("fixed"), {})),
        drafter_(Registry<Drafter>::instance().make(parse_yaml(drafter, "drafter"), BuildContext{.vocab = vocab})) {}

  Drafter& drafter() { return *drafter_; }
  const Tokens& text() const { return text_; }

  // Starts the next request; one that ran before ends.
  void begin(Tokens prompt, std::vector<Token> stop_tokens = {}) {
    if (!text_.empty()) drafter_->end(0);
    request_ = {.id = request_.id + 1, .prompt = std::move(prompt), .stop_tokens = std::move(stop_tokens)};
    text_ = request_.prompt;
    drafter_->begin(0, {request_, text_});
  }
  DraftTree draft(std::optional<DraftBudget> budget = {}) {
    const DraftContext context{0,    request_, sampler_, text_, budget.value_or(drafter_->limits()),
                               rng_, *policy_, nullptr,  vocab_};
    return drafter_->draft(std::span(&context, 1)).front();
  }
  // Ends a round: `emitted` are the tokens that it added, whatever the draft was.
  void observe(const DraftTree& tree, Scores& scores, TokenSpan emitted) {
    text_.insert(text_.end(), emitted.begin(), emitted.end());
    const Verdict verdict;
    const RoundView round{0, text_, tree, scores, verdict, static_cast<int>(emitted.size())};
    drafter_->observe(std::span(&round, 1));
  }

 private:
  int vocab_;
  Sampler sampler_;
  PhiloxRng rng_;
  std::unique_ptr<DraftPolicy> policy_;
  std::unique_ptr<Drafter> drafter_;
  Request request_;
  Tokens text_;
};

inline std::set<Tokens> node_paths(const DraftTree& tree) {
  std::set<Tokens> paths;
  for (NodeId node = 1; node < tree.size(); ++node) paths.insert(tree.path(node));
  return paths;
}

inline std::set<Tokens> proposal_paths(const DraftTree& tree) {
  std::set<Tokens> paths;
  for (NodeId node = 1; node < tree.size(); ++node)
    if (tree.proposed(node)) paths.insert(tree.path(node));
  return paths;
}

// Text in which n-grams come back: mostly the token that a fixed rule gives, sometimes another one.
inline Tokens retrieval_text(std::size_t length, int vocab, std::uint64_t seed) {
  PhiloxRng rng({.seed = seed});
  Tokens text{0};
  while (text.size() < length) {
    const auto before = static_cast<std::uint64_t>(text.back()) +
                        (text.size() > 1 ? static_cast<std::uint64_t>(text[text.size() - 2]) : 0);
    text.push_back(
        static_cast<Token>((rng.below(4) == 0 ? rng.next() : before * 3 + 1) % static_cast<std::uint64_t>(vocab)));
  }
  return text;
}

}  // namespace foretell::testing
