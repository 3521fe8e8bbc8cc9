// The target as its own draft model, under other rules than it is scored under: fewer experts, sublayers left out, a
// part of the cache in sight, int8 weights, rows that leave early.
//
// Contract: a draft works on the target's own cache, which is lent for it: no second one, nothing to read at the start,
// and every committed row is the target's; what drafting appends is dropped before scoring. A cache of its own is taken
// where it is asked for, where an attention policy looks at weights or would choose among rows that the target's own
// rules hide (kv: hole), and for trees that grow beyond what is scored; if the option forbids it there, an Error. On
// the target's cache rows that left early, and under no other rule, are finished by scoring from the layer that they
// left at, so nothing is computed twice (LayerSkip, Elhoushi et al. 2024, arXiv 2404.16710); all others are computed
// anew. Then the prompt is read under the rules (an attention policy only watches), and rows of accepted drafts stay as
// the rules made them. Only a draft on a cache of its own can be taken back, as a cascade does. Needs a model as
// target.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "framework/core/parameters.h"
#include "framework/decoding/bases/level_drafter.h"
#include "framework/decoding/forward_rules.h"
#include "framework/exits/layer_sets.h"

namespace foretell::bases {

// Where the rows that are drafted go.
struct DraftCacheOption {
  std::string choice = "auto";
  Location where = {};
  void declare(Parameters& p);
};

struct SelfDraftOptions {
  decoding::RuleOptions rules;
  DraftCacheOption cache;
  ModelDraftOptions draft;
  void declare(Parameters& p);
};

// Experts that a row of the target goes through; 0 where it has none or is no model.
int experts_per_token(const BuildContext& context);

class SelfDrafter : public LevelDrafter {
 public:
  // `name` in the registry, for messages.
  SelfDrafter(const SelfDraftOptions& options, const BuildContext& context, const std::string& name);

 protected:
  // Under rules that are made already.
  SelfDrafter(decoding::ForwardRules rules, const DraftCacheOption& cache, const ModelDraftOptions& draft,
              const BuildContext& context, const std::string& name);

  // Between drafts, where no row leaves early: which sublayers the next ones compute.
  void use_without(const exits::SkippedSublayers& skipped);
  // Those of the whole model without some.
  model::LayerSet without(const exits::SkippedSublayers& skipped) const;

  // By auxiliary state in how many of some rows the target's head makes of it the token that it makes of the final one.
  std::vector<int> agreements(const model::HiddenStates& hidden, std::span<const NodeId> rows) const;
  // Of the newest rows, so many at most; the second value says of how many.
  std::pair<std::vector<int>, int> newest_agreements(const model::HiddenStates& hidden, int most) const;

 private:
  std::optional<std::string> why_not_on_target(const BuildContext& context);

  std::shared_ptr<const model::LanguageModel> target_;
};

}  // namespace foretell::bases
