#include "experiments/cell/ruled_pipeline.h"

#include "framework/decoding/forward_rules.h"
#include "framework/decoding/model_target.h"

namespace foretell::cell {

study::BuiltPipeline build_ruled_pipeline(const study::PipelineSection& section, const BuildContext& context) {
  decoding::ForwardRules rules = decoding::read_rules(section.target, "pipeline.target", context);
  study::BuiltPipeline built = study::build_pipeline(section, context);
  if (rules.own()) return built;
  // What one sequence attends to is its own affair where its rows come one by one.
  const bool one_by_one = study::drafts_nothing(section) && (!rules.router || rules.router->row_independent()) &&
                          (!rules.exits.policy || rules.exits.policy->row_independent());
  built.row_independent = rules.row_independent() || one_by_one;
  built.target = decoding::make_model_target(context.target, {.rules = std::move(rules)});
  return built;
}

}  // namespace foretell::cell
