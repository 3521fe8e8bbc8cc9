// The target drafting with its own first layers (LayerSkip), and hidden states on the way to the drafter: the proof that forward_early closes.
#include <ATen/ATen.h>

#include "framework/decode/target_view.h"
#include "framework/model/hidden.h"
#include "tests/support/catch.h"
#include "tests/support/conformance.h"

namespace foretell::testing {
namespace {

// Exits after `layers` layers, or skips single sublayers, and drafts `length` tokens greedily from what the head says there. `extra` adds a sibling
// to every node that was not forwarded early, so that a draft mixes finished and new rows; `unnamed` forwards a row that the draft leaves out.
struct SelfDraftOptions {
  int layers = 2;
  int length = 4;
  bool skip_middle = false;
  bool extra = false;
  bool unnamed = false;
  HiddenRequest wants = {};
};

class SelfDrafter final : public PerSequenceDrafter {
 public:
  explicit SelfDrafter(const SelfDraftOptions& options) : options_(options) {}
  DraftBudget limits() const override { return {2 * options_.length + 2, options_.length, 2}; }
  DraftForm form() const override { return {.tree = options_.extra, .point_mass = true}; }
  HiddenRequest wants() const override { return options_.wants; }

 private:
  class One final : public SequenceDrafter {
   public:
    explicit One(const SelfDraftOptions& options) : options_(options) {}
    void observe_prompt(const PromptChunk& chunk) override { CHECK((chunk.hidden != nullptr) == !options_.wants.empty()); }
    void observe(const RoundView& round) override {
      if (options_.wants.empty()) return;
      REQUIRE(round.scores.hidden());
      REQUIRE(round.scores.hidden()->taps.size() == options_.wants.taps.size());
      // The toy's state carries each row's token: rows must come by node, whatever order they were computed in.
      for (const at::Tensor& tap : round.scores.hidden()->taps)
        for (NodeId node = 0; node < round.draft.size(); ++node) CHECK(tap[node][0].item<std::int64_t>() == round.draft.node(node).token);
    }
    DraftTree draft(const DraftContext& context) override {
      DraftTree tree(context.committed.back());
      NodeId at = kAnchor, row = 0;
      Token token = tree.node(kAnchor).token;
      for (int depth = 1; depth <= context.budget.depth && tree.size() < context.budget.nodes; ++depth) {
        const DraftNode node{token, row};
        const EarlyResult early = context.target->forward_early(std::span(&node, 1), layers(*context.target));
        row = depth - 1;
        token = static_cast<Token>(early.logits[0].argmax().item<std::int64_t>());
        if (options_.unnamed && depth == 1) {
          const DraftNode stray{(token + 1) % context.vocab, row};
          context.target->forward_early(std::span(&stray, 1), layers(*context.target));
        }
        const NodeId parent = at;
        at = tree.choose(parent, token, context.vocab);
        if (options_.extra) tree.choose(parent, (token + 2) % context.vocab, context.vocab);
        if (options_.unnamed && depth == 1) break;
      }
      return tree;
    }

   private:
    LayerSet layers(const TargetView& target) const {
      if (!options_.skip_middle) return LayerSet::first(options_.layers, target.num_layers());
      LayerSet set = LayerSet::all(target.num_layers());
      set.set_attention(1, false);
      set.set_mlp(2, false);
      return set;
    }
    SelfDraftOptions options_;
  };
  std::unique_ptr<SequenceDrafter> open(const PromptView&) override { return std::make_unique<One>(options_); }
  SelfDraftOptions options_;
};

Setup self_draft(const SelfDraftOptions& options) {
  Setup setup = toy_setup("none");
  setup.drafter = [options] { return std::make_unique<SelfDrafter>(options); };
  return setup;
}

TEST_CASE("self-drafting emits the greedy text, at every exit layer", "[self-draft]") {
  for (const int layers : {1, 2, 3, 4}) CHECK(check_identity(self_draft({.layers = layers})).value_or("") == "");
}

TEST_CASE("self-drafting with skipped sublayers, siblings that were not forwarded, rows that are not named", "[self-draft]") {
  CHECK(check_identity(self_draft({.skip_middle = true})).value_or("") == "");
  CHECK(check_identity(self_draft({.extra = true})).value_or("") == "");
  CHECK(check_identity(self_draft({.unnamed = true})).value_or("") == "");
  CHECK(check_identity(self_draft({.skip_middle = true, .extra = true, .unnamed = true})).value_or("") == "");
}

TEST_CASE("early layers are not computed twice", "[self-draft]") {
  const auto target = toy_target();
  const Request request{.prompt = {1, 2, 3}, .max_new_tokens = 60};
  Setup setup = self_draft({.layers = 2, .length = 3});
  setup.model = target;
  setup.target = toy_setup("none", "rejection", "", target).target;
  const Generation out = run(setup, {request}).front();
  CHECK(out.tokens == reference_greedy(*target, request));
  // Rows through any layers: the prompt, each scored row once on its way through the last layers, and each row once through the first layers.
  long scored = 0;
  for (const RoundRecord& round : out.rounds) scored += round.drafted > 0 ? 2 * round.scored : 1;
  CHECK(target->rows() == 2 + scored);
}

TEST_CASE("hidden states reach the drafter by node", "[self-draft]") {
  for (const bool extra : {false, true})
    CHECK(check_identity(self_draft({.layers = 2, .extra = extra, .wants = {.taps = {0, 2, 3}, .final_state = true}})).value_or("") == "");
}

}  // namespace
}  // namespace foretell::testing
