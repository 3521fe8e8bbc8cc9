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

#include <optional>
#include <string>

#include "framework/core/parameters.h"
#include "framework/decoding/bases/level_drafter.h"
#include "framework/decoding/forward_rules.h"

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

 private:
  std::optional<std::string> why_not_on_target(const BuildContext& context);
};

}  // namespace foretell::bases
