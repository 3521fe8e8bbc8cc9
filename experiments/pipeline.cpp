#include "experiments/pipeline.h"

#include <algorithm>

namespace foretell {
namespace {

// Knows the name even where the part itself is built later, by the drafter.
template <class Interface>
void check_type(const ConfigValue& description) {
  Registry<Interface>::instance().find(description);
}

template <class Interface>
bool remembers(const std::string& name) {
  const auto& entries = Registry<Interface>::instance().entries();
  const auto entry = entries.find(name);
  return entry != entries.end() && entry->second.info.run_state;
}

bool names_one_that_remembers(const ConfigValue& value) {
  if (value.is_scalar())
    return remembers<Drafter>(value.text()) || remembers<DraftPolicy>(value.text()) || remembers<TreePolicy>(value.text()) ||
           remembers<Verifier>(value.text());
  for (const ConfigValue& item : value.items())
    if (names_one_that_remembers(item)) return true;
  return std::any_of(value.entries().begin(), value.entries().end(), [](const auto& e) { return names_one_that_remembers(e.value); });
}

}  // namespace

bool has_state(const PipelineSection& section) {
  return names_one_that_remembers(section.drafter) || names_one_that_remembers(section.verifier) ||
         names_one_that_remembers(section.policy) || names_one_that_remembers(section.tree);
}

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
