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

bool has_state(const PipelineSection& section) { return !strategies_with(&StrategyInfo::stateful, section).empty(); }

std::vector<std::string> given_acceptance(const PipelineSection& section) {
  return strategies_with(&StrategyInfo::given_acceptance, section);
}

bool is_lossy(const PipelineSection& section) {
  const auto& registry = Registry<Verifier>::instance();
  const auto entry = registry.entries().find(registry.type_of(section.verifier));
  return entry != registry.entries().end() && !entry->second.info.lossless.value_or(true);
}

bool has_rules(const PipelineSection& section) {
  const auto is_rule = [](const ConfigValue::Entry& entry) {
    return !entry.value.is_null() && !(entry.value.is_scalar() && entry.value.text() == "false");
  };
  const ConfigValue& rules = section.target;
  return !rules.is_null() && (!rules.is_map() || std::any_of(rules.entries().begin(), rules.entries().end(), is_rule));
}

bool same_rules(const PipelineSection& a, const PipelineSection& b) {
  return has_rules(a) == has_rules(b) && (!has_rules(a) || same_value(a.target, b.target));
}

Losslessness losslessness(const PipelineSection& section, bool row_independent) {
  const bool target = !is_lossy(section) && row_independent;
  return {target, target && !has_rules(section)};
}

std::string in_words(const Losslessness& lossless) {
  if (lossless.towards_checkpoint) return "lossless";
  return lossless.towards_target ? "lossless towards the target's rules, lossy towards the checkpoint"
                                 : "lossy towards the target's rules and the checkpoint";
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
