#include "tests/support/self_drafter.h"

#include <ATen/core/Tensor.h>

#include "framework/core/error.h"
#include "framework/decoding/target_view.h"
#include "framework/model/hidden.h"
#include "tests/support/rooms.h"

namespace foretell::testing {
namespace {

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
    void observe_prompt(const PromptChunk& chunk) override {
      FORETELL_CHECK((chunk.hidden != nullptr) == !options_.wants.empty(), "a chunk of {} tokens", chunk.tokens.size());
    }
    void observe(const RoundView& round) override {
      if (options_.wants.empty() || !options_.tokens_in_taps) return;
      // The toy's state carries each row's token: rows must come by node, whatever order they were computed in.
      const HiddenStates* hidden = round.scores.hidden();
      FORETELL_CHECK(hidden && hidden->taps.size() == options_.wants.taps.size(), "{} taps wanted",
                     options_.wants.taps.size());
      for (const at::Tensor& tap : hidden->taps)
        for (NodeId node = 0; node < round.draft.size(); ++node)
          FORETELL_CHECK(tap[node][0].item<std::int64_t>() == round.draft.node(node).token, "row {} is another node's",
                         node);
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

}  // namespace

std::unique_ptr<Drafter> make_self_drafter(const SelfDraftOptions& options) {
  return std::make_unique<SelfDrafter>(options);
}

}  // namespace foretell::testing
