#include "tests/support/self_drafter.h"

#include <ATen/core/Tensor.h>

#include <algorithm>

#include "framework/core/error.h"
#include "framework/decoding/target_view.h"
#include "framework/model/hidden.h"
#include "tests/support/rooms.h"

namespace foretell::testing {
namespace {

class SelfDrafter final : public Drafter {
 public:
  SelfDrafter(std::shared_ptr<const LanguageModel> model, const SelfDraftOptions& options)
      : model_(std::move(model)), options_(options) {}
  DraftBudget limits() const override { return {2 * options_.length + 2, options_.length, 2}; }
  DraftForm form() const override { return {.tree = options_.extra, .point_mass = true}; }
  HiddenStateRequest required_hidden_states() const override { return options_.wants; }

  void observe_prompt(SlotId, const PromptChunk& chunk) override {
    FORETELL_CHECK((chunk.hidden != nullptr) == !options_.wants.empty(), "a chunk of {} tokens", chunk.tokens.size());
  }
  void observe(std::span<const RoundView> rounds) override {
    if (options_.wants.empty() || !options_.tokens_in_taps) return;
    // The toy's state carries each row's token: rows must come by node, whatever order they were computed in.
    for (const RoundView& round : rounds) {
      const HiddenStates* hidden = round.scores.hidden();
      FORETELL_CHECK(hidden && hidden->aux_states.size() == options_.wants.aux_states.size(),
                     "{} auxiliary hidden states wanted", options_.wants.aux_states.size());
      for (const at::Tensor& aux_layer : hidden->aux_states)
        for (NodeId node = 0; node < round.draft.size(); ++node)
          FORETELL_CHECK(aux_layer[node][0].item<std::int64_t>() == round.draft.node(node).token,
                         "row {} is another node's", node);
    }
  }
  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override {
    std::vector<Growth> all;
    for (const DraftContext& context : batch)
      all.push_back({context, DraftTree(context.committed.back()), {context.committed.back(), kAnchor}});
    for (int depth = 1; depth <= (options_.unnamed ? 1 : options_.length); ++depth) {
      std::vector<Growth*> active;
      for (Growth& growth : all)
        if (depth <= growth.context.budget.depth && growth.tree.size() < growth.context.budget.nodes)
          active.push_back(&growth);
      if (active.empty()) break;
      grow(active, depth);
    }
    std::vector<DraftTree> trees;
    for (Growth& growth : all) trees.push_back(std::move(growth.tree));
    return trees;
  }

 private:
  struct Growth {
    const DraftContext& context;
    DraftTree tree;
    DraftNode next;  // to be forwarded: its parent is a provisional row
    NodeId at = kAnchor;
    std::vector<int> leaves = {};
  };

  int exit_of(const Growth& growth, int depth) const {
    const int later = (options_.spread ? growth.context.slot : 0) + (options_.deepening ? depth - 1 : 0);
    return std::min(options_.layers + later, model_->config().num_layers);
  }

  // One provisional row of each sequence; their logits.
  at::Tensor forward(std::span<Growth* const> active, std::span<const DraftNode> nodes, int depth) {
    std::vector<ForwardItem> items;
    ForwardOptions options;
    if (options_.skip_middle) {
      options.computed = LayerSet::all(model_->config().num_layers);
      options.computed->set_attention(1, false);
      options.computed->set_mlp(2, false);
    } else if (!options_.spread) {
      options.layers = LayerRange{0, exit_of(*active.front(), depth)};
    }
    active.front()->context.target->ask(options);
    for (std::size_t i = 0; i < active.size(); ++i) {
      items.push_back(active[i]->context.target->provisional(nodes.subspan(i, 1)));
      if (!options_.spread || options_.skip_middle) continue;
      active[i]->leaves.assign(1, exit_of(*active[i], depth));
      items.back().leaves = active[i]->leaves;
    }
    const ForwardResult result = model_->forward(items, options);
    for (std::size_t i = 0; i < active.size(); ++i) active[i]->context.target->take(result, static_cast<int>(i));
    return result.logits;
  }

  void grow(std::span<Growth* const> active, int depth) {
    std::vector<DraftNode> nodes;
    for (const Growth* growth : active) nodes.push_back(growth->next);
    const at::Tensor logits = forward(active, nodes, depth);
    std::vector<DraftNode> strays;
    for (std::size_t i = 0; i < active.size(); ++i) {
      Growth& growth = *active[i];
      const auto token = static_cast<Token>(logits[static_cast<std::int64_t>(i)].argmax().item<std::int64_t>());
      strays.push_back({(token + 1) % growth.context.vocab, depth - 1});
      growth.next = {token, depth - 1};
      const NodeId parent = growth.at;
      growth.at = growth.tree.choose(parent, token, growth.context.vocab);
      if (options_.extra) growth.tree.choose(parent, (token + 2) % growth.context.vocab, growth.context.vocab);
    }
    if (options_.unnamed) forward(active, strays, depth);
  }

  std::shared_ptr<const LanguageModel> model_;
  SelfDraftOptions options_;
};

}  // namespace

std::unique_ptr<Drafter> make_self_drafter(std::shared_ptr<const LanguageModel> model,
                                           const SelfDraftOptions& options) {
  return std::make_unique<SelfDrafter>(std::move(model), options);
}

}  // namespace foretell::testing
