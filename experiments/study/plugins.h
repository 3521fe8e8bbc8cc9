// --plugin, and what a run remembers of the plug-ins that it used.
//
// Contract: plug-ins are loaded before anything is looked up in a registry; framework/plugin/plugin.h says what can be
// wrong with one. A path of a study is looked for like its other paths (experiments/util/paths.h).
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "experiments/util/command.h"
#include "framework/core/config_value.h"

namespace foretell::study {

// The option is the same for every command in which strategies are named.
void add_plugin_option(util::Command& command, std::vector<std::string>& files);
// --trust-plugins, for commands that draft.
void add_trust_option(util::Command& command);

// Whether a drafter that was certified, or any with --trust-plugins, is spared the check that passes over its
// distributions.
enum class DistributionChecks { UntilCertified, Always };

void load_plugins(const std::vector<std::string>& files,
                  DistributionChecks checks = DistributionChecks::UntilCertified);
// A study's `plugins`: a list of paths, one path, or null.
void load_plugins(const ConfigValue& files, const std::filesystem::path& study_folder);

// Leaves a certificate (plugin_certificate.h) beside each loaded plug-in that has one of these drafters; returns the
// files' names.
std::vector<std::string> certify_plugins(const std::set<std::string>& drafters);

// [{file, hash, strategies, unchecked}] of all plug-ins, in the order in which they were loaded; `unchecked`: drafters
// whose distributions nobody checks.
nlohmann::ordered_json plugin_manifest();

}  // namespace foretell::study
