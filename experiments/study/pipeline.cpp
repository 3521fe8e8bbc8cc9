#include "experiments/study/pipeline.h"

#include <algorithm>

namespace foretell::study {
namespace {

// Knows the name even where the part itself is built later, by the drafter.
template <class Interface>
void check_type(const ConfigValue& description) {
  Registry<Interface>::instance().find(description);
}

// The strategies that `value` names anywhere in it and that have the trait, as "drafter 'oracle'".
template <class Interface>
void add_named(const ConfigValue& value, bool StrategyInfo::*trait, std::vector<std::string>& out) {
  if (value.is_scalar()) {
    const auto& entries = Registry<Interface>::instance().entries();
    const auto entry = entries.find(value.text());
    const std::string name = fmt::format("{} '{}'", Registry<Interface>::kind(), value.text());
    if (entry != entries.end() && entry->second.info.*trait && std::find(out.begin(), out.end(), name) == out.end())
      out.push_back(name);
  }
  for (const ConfigValue& item : value.items()) add_named<Interface>(item, trait, out);
  for (const auto& entry : value.entries()) add_named<Interface>(entry.value, trait, out);
}

std::vector<std::string> strategies_with(bool StrategyInfo::*trait, const PipelineSection& section) {
  std::vector<std::string> out;
  for (const ConfigValue* part : {&section.drafter, &section.verifier, &section.policy, &section.tree}) {
    add_named<Drafter>(*part, trait, out);
    add_named<Verifier>(*part, trait, out);
    add_named<DraftPolicy>(*part, trait, out);
    add_named<TreePolicy>(*part, trait, out);
  }
  return out;
}

}  // namespace

bool has_state(const PipelineSection& section) { return !strategies_with(&StrategyInfo::run_state, section).empty(); }

std::vector<std::string> given_acceptance(const PipelineSection& section) {
  return strategies_with(&StrategyInfo::given_acceptance, section);
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

}  // namespace foretell::study
