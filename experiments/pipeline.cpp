#include "experiments/pipeline.h"

namespace foretell {
namespace {

// Knows the name even where the part itself is built later, by the drafter.
template <class Interface>
void check_type(const ConfigValue& description) {
  const auto& registry = Registry<Interface>::instance();
  registry.find(registry.type_of(description), description.where());
}

}  // namespace

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
