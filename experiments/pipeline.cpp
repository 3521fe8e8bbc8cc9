#include "experiments/pipeline.h"

namespace foretell {
namespace {

// Knows the name even where the part itself is built later, by the drafter.
template <class Interface>
void check_type(const ConfigValue& description) {
  Registry<Interface>::instance().find(description);
}

}  // namespace

bool is_lossy(const PipelineSection& section) {
  const auto& registry = Registry<Verifier>::instance();
  const auto entry = registry.entries().find(registry.type_of(section.verifier));
  return entry != registry.entries().end() && !entry->second.info.lossless.value_or(true);
}

bool drafts_nothing(const PipelineSection& section) {
  const ConfigValue* type = section.drafter.is_scalar() ? &section.drafter : section.drafter.find("type");
  return type && type->is_scalar() && type->text() == "none";
}

BuiltPipeline build_pipeline(const PipelineSection& section, BuildContext context) {
  if (!section.tree.is_null()) {
    check_type<TreePolicy>(section.tree);
    context.tree = section.tree;
  }
  BuiltPipeline built;
  built.drafter = Registry<Drafter>::instance().make(section.drafter, context);
  built.verifier = Registry<Verifier>::instance().make(section.verifier, context);
  built.policy = Registry<DraftPolicy>::instance().make(section.policy, context);
  return built;
}

}  // namespace foretell
