// Under which rules a model runs, where they are not the checkpoint's: one description for the target that is scored
// (`pipeline.target`), for the drafter `self` and for certification.
//
//   router:    {type: top_k, k: 1}                         # of a mixture of experts
//   attention: {type: streaming, window: 256}              # which rows of the cache are seen
//   layers:    {skip_attention: [3, 5], skip_mlp: [4]}     # sublayers that are left out
//   weights:   int8                                        # rounded: int8, int4[:GROUP], int4z[:GROUP]
//   int8:      true                                        # the same as weights: int8
//   exit:      {type: margin, threshold: 0.9}              # where rows leave before the last layer
//   heads:     folder                                      # what answers them; without it the model's own head
//   kv:        propagate                                   # what stands in the cache above a row that left
//   max_pending: 32                                        # under kv: recompute
//
// Contract: constant and shared. What is null or false is the checkpoint's. read_rules() finds what the model lacks: a
// router for a dense model, a layer that there is not, an exit without a head; each is an Error at its place in the
// YAML.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "framework/api/attention_policy.h"
#include "framework/api/exit_policy.h"
#include "framework/api/router.h"
#include "framework/core/parameters.h"
#include "framework/model/language_model.h"
#include "framework/model/layers.h"

namespace foretell {
struct BuildContext;
}  // namespace foretell

namespace foretell::decoding {

// Rows that may leave before the last layer.
struct ExitSettings {
  std::shared_ptr<ExitPolicy> policy = {};             // null: no row leaves
  std::shared_ptr<const model::ExitHeads> heads = {};  // null: the model's own head behind its final norm
  KvRule kv = KvRule::Propagate;
  int max_pending = 32;  // under KvRule::Recompute: committed rows whose keys and values are owed, at most
};

struct ForwardRules {
  std::shared_ptr<const Router> router = {};
  std::shared_ptr<const AttentionPolicy> attention = {};     // fresh() for each sequence
  std::optional<model::LayerSet> layers = {};                // none: all
  std::shared_ptr<const model::LanguageModel> rounded = {};  // the model with rounded weights; none: its own weights
  ExitSettings exits = {};

  // Whether nothing is changed.
  bool own() const { return !router && !attention && !layers && !rounded && !exits.policy; }
  // Whether a row's logits are the same alone, in a batch and in a draft. An attention policy chooses once a forward,
  // so that what a row sees depends on how many rows come with it.
  bool row_independent() const {
    return !attention && (!router || router->row_independent()) && (!exits.policy || exits.policy->row_independent());
  }
  // Of the forward's options what the rules say: router and layers. Exits are the caller's, who knows which rows may
  // leave.
  void apply(model::ForwardOptions& options) const;
  // What is run: the model, or its form with rounded weights.
  const model::LanguageModel& model_of(const model::LanguageModel& own) const { return rounded ? *rounded : own; }
};

// The keys above, for options structs that have them among others.
struct RuleOptions {
  ConfigValue router = {}, attention = {}, layers = {};
  bool int8 = false;
  std::optional<std::string> weights = {};
  ConfigValue exit = {};
  std::optional<std::string> heads = {}, kv = {};
  std::optional<int> max_pending = {};
  Location where = {};
  void declare(Parameters& p);
};

// `owner` names who has them in messages ("drafter 'self'"). An Error where the target is a recorded answer and there
// is a rule.
ForwardRules make_rules(const RuleOptions& options, const std::string& owner, const BuildContext& context);
// Of a mapping with these keys alone: the rules of a target.
ForwardRules read_rules(const ConfigValue& rules, const std::string& owner, const BuildContext& context);

}  // namespace foretell::decoding
