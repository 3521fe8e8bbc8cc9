// What `foretell new` writes: the folder of a plug-in with one strategy that works.
//
// Contract: pure. `name` is an identifier. Each strategy is small, right and tested (tests/cli/plugin_test.py builds
// all of them), and states in comments what the interface demands.
#pragma once

#include <string>
#include <vector>

namespace foretell::cli::commands::strategies {

struct TemplateFile {
  std::string name, text;
};

// "drafter", "verifier", "policy", "tree", "attention", "router", "exit": what a registry calls its kind.
const std::vector<std::string>& plugin_kinds();

// "a drafter", "an exit policy".
std::string a_kind(const std::string& kind);

// `prefix`: where Foretell is installed; empty if that is not known.
std::vector<TemplateFile> plugin_template(const std::string& kind, const std::string& name, const std::string& prefix);

}  // namespace foretell::cli::commands::strategies
