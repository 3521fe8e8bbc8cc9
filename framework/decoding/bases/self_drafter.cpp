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

SelfDrafter::SelfDrafter(const SelfDraftOptions& options, const BuildContext& context, const std::string& name)
    : LevelDrafter(options.draft, source_of(options, context, name), context) {
  auto& own = static_cast<ModelSource&>(source());
  const bool watches = own.rules().attention && own.rules().attention->wants_weights();
  const bool grows = most_nodes() > limits().nodes;
  if (options.cache.choice == "target" && watches)
    fail_at(
        options.cache.where,
        "{}: this attention policy looks at weights, which the target's own forwards do not give: expected cache: own",
        name);
  if (options.cache.choice == "target" && grows)
    fail_at(options.cache.where,
            "{}: the tree grows {}, the target's cache has room for the {} that are scored: expected cache: own", name,
            counted(most_nodes(), "node"), limits().nodes);
  if (options.cache.choice != "own" && !watches && !grows) own.borrow_caches();
}

}  // namespace foretell::bases
