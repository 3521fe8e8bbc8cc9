#include "experiments/study/plugins.h"

#include <nlohmann/json.hpp>

#include <algorithm>

#include "experiments/study/plugin_certificate.h"
#include "experiments/util/paths.h"
#include "framework/api/drafter.h"
#include "framework/api/plugin_guards.h"
#include "framework/io/content_hash.h"
#include "framework/plugin/plugin.h"

namespace foretell::study {
namespace {

struct UsedPlugin {
  const plugin::LoadedPlugin* plugin;
  std::string hash;  // of the file as it was when it was loaded: it may be built again while a long study runs
  std::set<std::string> unchecked = {};
};

bool& all_are_trusted() {
  static bool trusted = false;
  return trusted;
}

std::set<std::string> drafters_of(const plugin::LoadedPlugin& plugin) {
  std::set<std::string> out;
  for (const std::string& strategy : plugin.strategies)
    if (strategy.starts_with(Registry<Drafter>::kind())) out.insert(strategy);
  return out;
}

std::vector<UsedPlugin>& used_plugins() {
  static std::vector<UsedPlugin> used;
  return used;
}

void use_plugin(const std::filesystem::path& file, DistributionChecks checks) {
  const plugin::LoadedPlugin& plugin = plugin::load_plugin(file);
  std::vector<UsedPlugin>& used = used_plugins();
  if (std::any_of(used.begin(), used.end(), [&](const UsedPlugin& other) { return other.plugin == &plugin; })) return;
  used.push_back({&plugin, io::file_hash(plugin.file)});
  if (checks == DistributionChecks::Always) return;
  const std::set<std::string> own = drafters_of(plugin);
  const std::set<std::string> certified = all_are_trusted() ? own : certified_drafters(plugin.file, used.back().hash);
  for (const std::string& drafter : certified) {
    if (!own.contains(drafter)) continue;
    trust_distributions_of(drafter);
    used.back().unchecked.insert(drafter);
  }
}

}  // namespace

void add_plugin_option(util::Command& command, std::vector<std::string>& files) {
  command.add("--plugin", files, "a shared library with more strategies (repeatable); `foretell new` starts one",
              {.type = "FILE.so"});
}

void add_trust_option(util::Command& command) {
  command.add_flag("--trust-plugins", all_are_trusted(),
                   "do not check the distributions of a plug-in's drafters, certified or not");
}

void load_plugins(const std::vector<std::string>& files, DistributionChecks checks) {
  for (const std::string& file : files) use_plugin(file, checks);
}

void load_plugins(const ConfigValue& files, const std::filesystem::path& study_folder) {
  if (files.is_null()) return;
  if (files.is_map()) fail_at(files.where(), "plugins: expected a list of shared libraries");
  for (const ConfigValue& file : files.is_list() ? files.items() : std::vector<ConfigValue>{files}) {
    const std::filesystem::path path = util::resolve_path(file, "plugins", study_folder);
    try {
      use_plugin(path, DistributionChecks::UntilCertified);
    } catch (const Error& error) {
      throw Error(file.where(), error.what());
    }
  }
}

std::vector<std::string> certify_plugins(const std::set<std::string>& drafters) {
  std::vector<std::string> files;
  for (const UsedPlugin& used : used_plugins()) {
    PluginCertificate certificate{used.hash, {}};
    for (const std::string& drafter : drafters_of(*used.plugin))
      if (drafters.contains(drafter)) certificate.drafters.insert(drafter);
    if (certificate.drafters.empty()) continue;
    write_certificate(used.plugin->file, certificate);
    files.push_back(certificate_file(used.plugin->file).string());
  }
  return files;
}

nlohmann::ordered_json plugin_manifest() {
  auto out = nlohmann::ordered_json::array();
  for (const UsedPlugin& used : used_plugins())
    out.push_back({{"file", used.plugin->file.filename().string()},
                   {"hash", used.hash},
                   {"strategies", used.plugin->strategies},
                   {"unchecked", used.unchecked}});
  return out;
}

}  // namespace foretell::study
