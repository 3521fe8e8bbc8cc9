#include "experiments/plugins.h"

#include <nlohmann/json.hpp>

#include <algorithm>

#include "experiments/content_hash.h"
#include "experiments/paths.h"
#include "framework/plugin/plugin.h"

namespace foretell {
namespace {

struct UsedPlugin {
  const LoadedPlugin* plugin;
  std::string hash;  // of the file as it was when it was loaded: it may be built again while a long study runs
};

std::vector<UsedPlugin>& used_plugins() {
  static std::vector<UsedPlugin> used;
  return used;
}

void use_plugin(const std::filesystem::path& file) {
  const LoadedPlugin& plugin = load_plugin(file);
  std::vector<UsedPlugin>& used = used_plugins();
  const bool known = std::any_of(used.begin(), used.end(), [&](const UsedPlugin& other) { return other.plugin == &plugin; });
  if (!known) used.push_back({&plugin, file_hash(plugin.file)});
}

}  // namespace

void add_plugin_option(Command& command, std::vector<std::string>& files) {
  command.add("--plugin", files, "a shared library with more strategies (repeatable); `foretell new` starts one", {.type = "FILE.so"});
}

void load_plugins(const std::vector<std::string>& files) {
  for (const std::string& file : files) use_plugin(file);
}

void load_plugins(const ConfigValue& files, const std::filesystem::path& study_folder) {
  if (files.is_null()) return;
  if (files.is_map()) fail_at(files.where(), "plugins: expected a list of shared libraries");
  for (const ConfigValue& file : files.is_list() ? files.items() : std::vector<ConfigValue>{files}) {
    const std::filesystem::path path = resolve_path(file, "plugins", study_folder);
    try {
      use_plugin(path);
    } catch (const Error& error) {
      throw Error(file.where(), error.what());
    }
  }
}

nlohmann::ordered_json plugin_manifest() {
  auto out = nlohmann::ordered_json::array();
  for (const UsedPlugin& used : used_plugins())
    out.push_back({{"file", used.plugin->file.filename().string()}, {"hash", used.hash}, {"strategies", used.plugin->strategies}});
  return out;
}

}  // namespace foretell
