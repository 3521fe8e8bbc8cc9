#include "framework/decoding/bases/self_drafter.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <numeric>

#include "framework/api/build_context.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/decoding/bases/model_source.h"
#include "framework/model/hidden.h"

namespace foretell::bases {
namespace {

decoding::ForwardRules rules_of(const SelfDraftOptions& options, const BuildContext& context, const std::string& name) {
  if (!context.target)
    fail_at(options.cache.where,
            "drafter '{}' drafts with the target's own weights: it needs a model as target, not a recorded answer",
            name);
  return decoding::make_rules(options.rules, fmt::format("drafter '{}'", name), context);
}

}  // namespace

void DraftCacheOption::declare(Parameters& p) {
  p.add("cache", choice, "draft on the target's cache or on a second one; auto: the target's where that can be",
        {.choices = {"auto", "target", "own"}});
  where = p.where();
}

void SelfDraftOptions::declare(Parameters& p) {
  rules.declare(p);
  cache.declare(p);
  draft.declare(p);
}

// Why drafts cannot go to the target's cache; none if they can.
std::optional<std::string> SelfDrafter::why_not_on_target(const BuildContext& context) {
  const decoding::ForwardRules& rules = static_cast<ModelSource&>(source()).rules();
  const decoding::ForwardRules* const scoring = context.target_rules;
  if (rules.attention && rules.attention->wants_weights())
    return "this attention policy looks at weights, which the target's own forwards do not give";
  if (rules.attention && scoring && scoring->exits.policy && scoring->exits.kv == KvRule::Hole)
    return "an attention policy chooses among all positions, the target's cache has holes (kv: hole)";
  if (most_nodes() > limits().nodes)
    return fmt::format("the tree grows {}, the target's cache has room for the {} that are scored",
                       counted(most_nodes(), "node"), limits().nodes);
  return std::nullopt;
}

model::LayerSet SelfDrafter::without(const exits::SkippedSublayers& skipped) const {
  model::LayerSet set = model::LayerSet::all(target_->config().num_layers);
  for (const int layer : skipped.attention) set.set_attention(layer, false);
  for (const int layer : skipped.mlp) set.set_mlp(layer, false);
  return set;
}

void SelfDrafter::use_without(const exits::SkippedSublayers& skipped) {
  auto& own = static_cast<ModelSource&>(source());
  FORETELL_CHECK(!own.rules().exits.policy, "{} sublayers of a draft that leaves early",
                 skipped.attention.size() + skipped.mlp.size());
  own.use_layers(without(skipped));
}

std::vector<int> SelfDrafter::agreements(const model::HiddenStates& hidden, std::span<const NodeId> rows) const {
  const c10::InferenceMode inference;
  const model::ModelParts& parts = *target_->parts();
  const std::vector<std::int64_t> numbers(rows.begin(), rows.end());
  const at::Tensor chosen = at::tensor(numbers, at::kLong).to(hidden.final_state.device());
  const at::Tensor said = parts.head().logits(hidden.final_state.index_select(0, chosen)).argmax(-1);
  std::vector<int> out;
  for (const at::Tensor& states : hidden.aux_states) {
    const at::Tensor own = parts.head().logits(parts.final_norm(states.index_select(0, chosen))).argmax(-1);
    out.push_back(static_cast<int>(own.eq(said).sum().item<std::int64_t>()));
  }
  return out;
}

std::pair<std::vector<int>, int> SelfDrafter::newest_agreements(const model::HiddenStates& hidden, int most) const {
  const auto all = static_cast<int>(hidden.final_state.size(0));
  std::vector<NodeId> rows(static_cast<std::size_t>(std::min(all, most)));
  std::iota(rows.begin(), rows.end(), all - static_cast<int>(rows.size()));
  return {agreements(hidden, rows), static_cast<int>(rows.size())};
}

SelfDrafter::SelfDrafter(const SelfDraftOptions& options, const BuildContext& context, const std::string& name)
    : SelfDrafter(rules_of(options, context, name), options.cache, options.draft, context, name) {}

SelfDrafter::SelfDrafter(decoding::ForwardRules made, const DraftCacheOption& cache, const ModelDraftOptions& draft,
                         const BuildContext& context, const std::string& name)
    : LevelDrafter(draft, std::make_unique<ModelSource>(context.target, std::move(made)), context),
      target_(context.target) {
  auto& own = static_cast<ModelSource&>(source());
  const decoding::ForwardRules& rules = own.rules();
  const bool waits = rules.exits.policy && rules.exits.kv == KvRule::Recompute;
  if (waits && form().tree)
    fail_at(cache.where,
            "{}: kv: recompute computes rows in the order of a text, this draft is a tree: expected propagate, copy or "
            "hole, or a chain",
            name);
  const std::optional<std::string> why = why_not_on_target(context);
  if (why && cache.choice == "target") fail_at(cache.where, "{}: {}: expected cache: own", name, *why);
  if (why || cache.choice == "own") return;
  // Rows that the target itself could have computed are taken on where they left.
  const bool targets = !rules.router && !rules.attention && !rules.layers && !rules.rounded;
  own.draft_on(rules.exits.policy && targets && !waits ? ModelSource::DraftCache::Provisional
                                                       : ModelSource::DraftCache::Lent);
}

int experts_per_token(const BuildContext& context) {
  return context.target ? context.target->config().moe.experts_per_token : 0;
}

}  // namespace foretell::bases
