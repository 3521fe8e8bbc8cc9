// Drafting level by level: what every drafter that asks for the logits behind a level shares, whoever gives them.
//
// Contract: drafts a chain, or a tree in the shape of a tree policy. Tokens are drawn from the source's distribution,
// warped as the target's is, with or without replacement among siblings; or they are the top-k of it, as point masses.
// At temperature 0 they are always the top-k: a draw from a point mass has no second child to give. Where the source
// has ids of its own, what the target lacks is cut from its distribution, which is renormalised. A row that several
// nodes share is each node's own distribution: drawn from, warped and ranked at each of them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/api/drafter.h"
#include "framework/api/policy.h"
#include "framework/core/parameters.h"
#include "framework/decoding/bases/level_source.h"

namespace foretell::bases {

// What every such drafter takes.
struct ModelDraftOptions {
  std::optional<int> num_speculative_tokens = {};
  std::string method = "sample";
  bool replacement = false;
  std::optional<double> temperature = {};
  ConfigValue tree = {};  // of this drafter: a tree policy, or none; null: the pipeline's
  Location where = {};
  void declare(Parameters& p);
  bool names_tree() const { return !tree.is_null() && !(tree.is_scalar() && tree.text() == "none"); }
};

class LevelDrafter : public Drafter {
 public:
  // `context` for the tree policy of a pipeline whose drafter names none. An Error for more levels than the source has.
  LevelDrafter(ModelDraftOptions options, std::unique_ptr<LevelSource> source, const BuildContext& context);

  DraftBudget limits() const override;
  DraftForm form() const override;
  HiddenStateRequest required_hidden_states() const override { return source_->required_hidden_states(); }
  DrafterTraits traits() const override { return {.draws_through_context = true, .rewinds = source_->rewinds()}; }
  void begin(SlotId slot, const PromptView& prompt) override { source_->begin(slot, prompt, most_nodes()); }
  void observe_prompt(SlotId slot, const PromptChunk& chunk) override { source_->observe_prompt(slot, chunk); }
  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override;
  void observe(std::span<const RoundView> rounds) override { source_->observe(rounds); }
  void end(SlotId slot) override { source_->end(slot); }

 protected:
  LevelSource& source() { return *source_; }
  // Nodes that a draft may have before the tree policy cuts it to its limits.
  int most_nodes() const;

 private:
  struct Level;
  struct Growth;

  int node_limit(const Growth& growth) const;
  bool chooses(const Growth& growth) const;
  bool wants_probs(const Growth& growth) const;
  std::span<const float> row(Level& level, int index) const;

  Level ask(std::span<Growth* const> active, int depth);
  std::size_t add_level(Growth& growth, int depth, Level& level, std::size_t first);
  using Ranking = std::shared_ptr<const Distribution>;
  std::vector<Ranking> ranking_distributions(const Growth& growth, Level& level, std::span<const int> rows) const;
  std::vector<int> plan_level(Growth& growth, int depth, const std::vector<Ranking>& distributions, Level& level,
                              std::span<const int> rows);
  void add_children(Growth& growth, NodeId parent, Level& level, int index, int width, const Ranking& ranking,
                    std::vector<NodeId>& children);
  std::vector<Token> top_tokens(const Growth& growth, NodeId node, Level& level, int index, int width) const;
  DraftTree select(Growth growth);

  ModelDraftOptions options_;
  std::unique_ptr<LevelSource> source_;
  std::unique_ptr<TreePolicy> shape_;
  int target_vocab_;
};

}  // namespace foretell::bases
