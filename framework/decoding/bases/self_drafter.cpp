#include "framework/decoding/bases/self_drafter.h"

#include "framework/api/build_context.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/decoding/bases/model_source.h"

namespace foretell::bases {
namespace {

std::unique_ptr<ModelSource> source_of(const SelfDraftOptions& options, const BuildContext& context,
                                       const std::string& name) {
  if (!context.target)
    fail_at(options.cache.where,
            "drafter '{}' drafts with the target's own weights: it needs a model as target, not a recorded answer",
            name);
  decoding::ForwardRules rules = decoding::make_rules(options.rules, fmt::format("drafter '{}'", name), context);
  return std::make_unique<ModelSource>(context.target, std::move(rules));
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

SelfDrafter::SelfDrafter(const SelfDraftOptions& options, const BuildContext& context, const std::string& name)
    : LevelDrafter(options.draft, source_of(options, context, name), context) {
  auto& own = static_cast<ModelSource&>(source());
  const decoding::ForwardRules& rules = own.rules();
  const bool waits = rules.exits.policy && rules.exits.kv == KvRule::Recompute;
  if (waits && form().tree)
    fail_at(options.rules.where,
            "{}: kv: recompute computes rows in the order of a text, this draft is a tree: expected propagate, copy or "
            "hole, or a chain",
            name);
  const std::optional<std::string> why = why_not_on_target(context);
  if (why && options.cache.choice == "target") fail_at(options.cache.where, "{}: {}: expected cache: own", name, *why);
  if (why || options.cache.choice == "own") return;
  // Rows that the target itself could have computed are taken on where they left.
  const bool targets = !rules.router && !rules.attention && !rules.layers && !rules.rounded;
  own.draft_on(rules.exits.policy && targets && !waits ? ModelSource::DraftCache::Provisional
                                                       : ModelSource::DraftCache::Lent);
}

int experts_per_token(const BuildContext& context) {
  return context.target ? context.target->config().moe.experts_per_token : 0;
}

}  // namespace foretell::bases
