#include "framework/plugin/plugin.h"

#include <dlfcn.h>

#include <cstdint>
#include <deque>
#include <fstream>
#include <system_error>

#include "framework/api/abi_tag.h"
#include "framework/core/input_file.h"
#include "framework/core/registry.h"
#include "framework/plugin/plugin_file.h"

namespace foretell::plugin {
namespace {

constexpr std::uintmax_t kLargestFile = std::uintmax_t{1} << 30;

std::string read_file(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::exists(file, error)) fail("{}: no such plug-in", file.string());
  std::ifstream in = open_input(file);
  const std::uintmax_t size = std::filesystem::file_size(file, error);
  if (error || size > kLargestFile)
    fail("{}: cannot be read as a plug-in of at most {} bytes", file.string(), kLargestFile);
  std::string bytes(size, '\0');
  in.read(bytes.data(), static_cast<std::streamsize>(size));
  if (!in) fail("{}: cannot be read", file.string());
  return bytes;
}

void check_file(const std::filesystem::path& file) {
  const std::string tag = read_plugin_tag(read_file(file), file.string());
  if (tag != plugin_abi_tag())
    fail("{}: was built for {}; this is {}: build it again against this Foretell", file.string(), tag,
         plugin_abi_tag());
}

// What dlopen() says, without the file's name where it starts with that.
std::string loader_message(const std::filesystem::path& file) {
  const char* said = ::dlerror();
  const std::string message = said ? said : "for no reason that the system tells";
  const std::string prefix = file.string() + ": ";
  return message.starts_with(prefix) ? message.substr(prefix.size()) : message;
}

std::vector<PendingStrategy> registrations_of(const std::filesystem::path& file) {
  std::vector<PendingStrategy> pending;
  watch_plugin_calls();
  pending_strategies() = &pending;
  const void* handle = nullptr;
  try {
    // Local: two plug-ins may have classes of one name. A symbol that is missing is told now and not in the middle of a
    // run.
    handle = call_plugin({"", "", file.filename().string()}, "its static initialisers",
                         [&] { return ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL); });
  } catch (...) {
    pending_strategies() = nullptr;
    throw;
  }
  pending_strategies() = nullptr;
  if (!handle) fail("{}: cannot be loaded: {}", file.string(), loader_message(file));
  return pending;
}

}  // namespace

std::string_view plugin_abi_tag() { return foretell_plugin_abi.tag; }

const LoadedPlugin& load_plugin(const std::filesystem::path& file) {
  static std::deque<LoadedPlugin> loaded;  // references to its elements stay valid
  std::error_code ignored;
  // A name without a folder would be looked for where the system's libraries are.
  const std::filesystem::path canonical = std::filesystem::weakly_canonical(file, ignored);
  const std::filesystem::path absolute = canonical.is_absolute() ? canonical : std::filesystem::absolute(file);
  for (const LoadedPlugin& plugin : loaded)
    if (plugin.file == absolute) return plugin;

  check_file(file);
  const std::vector<PendingStrategy> pending = registrations_of(absolute);
  if (pending.empty()) fail("{}: registers no strategy; FORETELL_REGISTER does that", file.string());
  LoadedPlugin plugin{absolute, {}};
  for (const PendingStrategy& strategy : pending) {
    try {
      strategy.add(absolute.filename().string());
    } catch (const Error& taken) {
      throw Error(Location{file.string(), {}}, taken.what());
    }
    plugin.strategies.push_back(fmt::format("{} '{}'", strategy.kind, strategy.name));
  }
  return loaded.emplace_back(std::move(plugin));
}

}  // namespace foretell::plugin
