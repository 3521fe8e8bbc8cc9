#include "tests/drafters/helpers.h"

#include "tests/support/catch.h"

namespace foretell::testing {
namespace {

class NoScores final : public Scores {
 public:
  Token argmax(NodeId) override { fail("a drafter without a model asked for scores"); }
  const Distribution& distribution(NodeId) override { fail("a drafter without a model asked for scores"); }
  std::span<const float> logits(NodeId) override { fail("a drafter without a model asked for scores"); }
};

}  // namespace

Tokens random_text(int size, int alphabet, std::uint64_t seed) {
  PhiloxRng rng({.seed = seed});
  Tokens text;
  for (int i = 0; i < size; ++i) text.push_back(static_cast<Token>(rng.below(static_cast<std::uint64_t>(alphabet))));
  return text;
}

DrafterBench::DrafterBench(const std::string& drafter, int vocab, std::shared_ptr<const Tokenizer> tokenizer)
    : vocab_(vocab) {
  BuildContext context;
  context.vocab = vocab;
  context.tokenizer = std::move(tokenizer);
  drafter_ = Registry<Drafter>::instance().make(parse_yaml(drafter, "drafter"), context);
  policy_ = Registry<DraftPolicy>::instance().make(ConfigValue::scalar("fixed"), context);
}

void DrafterBench::begin(SlotId slot, const Tokens& prompt) {
  Running& running = running_[slot];
  running.request.prompt = prompt;
  running.committed = prompt;
  drafter_->begin(slot, {running.request, running.committed});
}

DraftTree DrafterBench::draft(SlotId slot, DraftBudget budget) {
  const Running& running = running_.at(slot);
  const Sampler sampler({.temperature = 0.0}, vocab_);
  PhiloxRng rng({});
  const DraftContext context{slot, running.request, sampler, running.committed, budget, rng, *policy_, nullptr, vocab_};
  DraftTree tree = std::move(drafter_->draft(std::span(&context, 1)).front());
  CHECK(tree.size() - 1 <= budget.nodes);
  CHECK(tree.depth() <= budget.depth);
  return tree;
}

void DrafterBench::commit(SlotId slot, const Tokens& tokens) {
  Running& running = running_.at(slot);
  const DraftTree bare(running.committed.back());
  running.committed.insert(running.committed.end(), tokens.begin(), tokens.end());
  NoScores scores;
  const Verdict verdict{.next = tokens.back()};
  const RoundView round{slot, running.committed, bare, scores, verdict, static_cast<int>(tokens.size())};
  drafter_->observe(std::span(&round, 1));
}

void DrafterBench::end(SlotId slot) {
  drafter_->end(slot);
  running_.erase(slot);
}

Tokens chain_of(const DraftTree& draft) {
  REQUIRE(draft.is_chain());
  return draft.path(draft.size() - 1);
}

}  // namespace foretell::testing
