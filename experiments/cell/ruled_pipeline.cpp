#include "experiments/cell/ruled_pipeline.h"

#include "experiments/util/console.h"
#include "framework/decoding/forward_rules.h"
#include "framework/decoding/model_target.h"

namespace foretell::cell {
namespace {

// Of rules anywhere in a description: what they say that nothing reads.
void note_unread(const ConfigValue& description) {
  const ConfigValue* const pending = description.find("max_pending");
  const ConfigValue* const kv = description.find("kv");
  if (pending && !pending->is_null() && !(kv && kv->is_scalar() && kv->text() == "recompute"))
    util::print_note(fmt::format("{}: max_pending says nothing without kv: recompute", pending->where().to_string()));
  for (const ConfigValue& item : description.items()) note_unread(item);
  for (const ConfigValue::Entry& entry : description.entries()) note_unread(entry.value);
}

}  // namespace

study::BuiltPipeline build_ruled_pipeline(const study::PipelineSection& section, const BuildContext& context) {
  decoding::ForwardRules rules = decoding::read_rules(section.target, "pipeline.target", context);
  BuildContext ruled = context;
  if (!rules.own()) ruled.target_rules = &rules;
  study::BuiltPipeline built = study::build_pipeline(section, ruled);
  note_unread(section.target);
  note_unread(section.drafter);
  if (rules.own()) return built;
  // What one sequence attends to is its own affair where its rows come one by one.
  const bool one_by_one = study::drafts_nothing(section) && (!rules.router || rules.router->row_independent()) &&
                          (!rules.exits.policy || rules.exits.policy->row_independent());
  built.row_independent = rules.row_independent() || one_by_one;
  built.target = decoding::make_model_target(context.target, {.rules = std::move(rules)});
  return built;
}

}  // namespace foretell::cell
