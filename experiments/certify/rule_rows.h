// What certification of a target's rules shares: routers and exit policies say of their rows whether they are
// independent, and are tested alone.
//
// Contract: see routing.h and exits.h, which name the kinds.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "experiments/certify/certificate.h"
#include "framework/core/plugin_call.h"
#include "framework/core/registry_names.h"

namespace foretell::certify {

struct RuleRow {
  std::string name = {};
  bool says_independent = false;
  Ruling verdict = Ruling::NotApplicable;
  std::string reason = {};  // of every verdict but lossless
  Exercise exercise = {};   // of the runs
};

// The verdict of a complaint, or of none. `missing`: what the runs did not have that they should have had.
void judge(RuleRow& row, const Complaint& complaint, const std::string& missing);

// What a test of one says; what a plug-in's throws is a failure of it.
template <class Row>
Row tested(const std::string& name, const std::function<void(Row&)>& test) {
  Row row;
  row.name = name;
  try {
    test(row);
  } catch (const PluginError& error) {
    row.verdict = Ruling::Failed;
    row.reason = error.what();
  }
  return row;
}

// A row for each that `asked` names: a name, "all", or a description ("{type: top_k, k: 1}"). `option` names it in
// messages, `forms` describes those whose defaults say little. An Error for a name that nobody registered.
template <class Interface, class Row, class Made>
std::vector<Row> certify_rules(const std::string& asked, const std::string& option,
                               const std::map<std::string, std::string>& forms,
                               Row (*certify)(const std::string&, const std::function<Made(const BuildContext&)>&)) {
  const auto& registry = Registry<Interface>::instance();
  ConfigValue description = parse_yaml(asked, option);
  description.forget_lines();
  const auto one = [&](const std::string& name, const ConfigValue& described) {
    return certify(name, [&](const BuildContext& context) { return registry.make(described, context); });
  };
  if (!description.is_scalar()) {
    registry.find(description);
    return {one(registry.type_of(description), description)};
  }
  std::vector<Row> all;
  for (const std::string& name : names_of<Interface>(asked)) {
    const auto form = forms.find(name);
    all.push_back(one(name, form == forms.end() ? ConfigValue::scalar(name) : parse_yaml(form->second, "certify")));
  }
  return all;
}

}  // namespace foretell::certify
