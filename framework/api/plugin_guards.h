// What stands between the program and the strategies of plug-ins.
//
// Contract: a registry puts a guard around each strategy that a plug-in's factory makes (framework/core/registry.h), so
// it is there wherever the strategy is used: in the loop, inside another drafter, in certify. Every method is called as
// framework/core/plugin_call.h says and its result is checked (contract.h): a PluginError names what is wrong. What is
// built in has no guard and pays nothing. The one check that costs time, a pass over all entries of a draft's
// distributions, can be left out for drafters that were certified.
#pragma once

#include <string>

namespace foretell {

// From now on made drafters of that label ("drafter 'bigram'") are trusted with what passes over the vocabulary.
void trust_distributions_of(const std::string& label);

}  // namespace foretell
