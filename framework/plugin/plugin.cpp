#include "framework/plugin/plugin.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <fstream>
#include <optional>
#include <system_error>

#include "framework/base/input_file.h"
#include "framework/base/registry.h"
#include "framework/plugin/abi_tag.h"

namespace foretell {
namespace {

constexpr std::uintmax_t kLargestFile = std::uintmax_t{1} << 30;
constexpr std::size_t kLongestTag = 200;

std::string read_file(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::exists(file, error)) fail("{}: no such plug-in", file.string());
  std::ifstream in = open_input(file);
  const std::uintmax_t size = std::filesystem::file_size(file, error);
  if (error || size > kLargestFile) fail("{}: cannot be read as a plug-in of at most {} bytes", file.string(), kLargestFile);
  std::string bytes(size, '\0');
  in.read(bytes.data(), static_cast<std::streamsize>(size));
  if (!in) fail("{}: cannot be read", file.string());
  return bytes;
}

// Loading a file that was cut short ends in a signal, so what would be mapped is compared with the file's size first.
void check_whole(const std::filesystem::path& file, const std::string& bytes) {
  ElfW(Ehdr) header{};
  constexpr unsigned char kClass = sizeof(void*) == 8 ? ELFCLASS64 : ELFCLASS32;
  if (bytes.size() >= sizeof header) std::memcpy(&header, bytes.data(), sizeof header);
  if (bytes.size() < sizeof header || !bytes.starts_with(ELFMAG) || header.e_ident[EI_CLASS] != kClass || header.e_type != ET_DYN)
    fail("{}: is no shared library", file.string());
  for (std::uint64_t i = 0; i < header.e_phnum; ++i) {
    ElfW(Phdr) segment;
    const std::uint64_t at = header.e_phoff + i * header.e_phentsize;
    bool inside = header.e_phoff <= bytes.size() && at + sizeof segment <= bytes.size();
    if (inside) {
      std::memcpy(&segment, bytes.data() + at, sizeof segment);
      inside = segment.p_offset <= bytes.size() && segment.p_filesz <= bytes.size() - segment.p_offset;
    }
    if (!inside) fail("{}: is no whole shared library: it was cut short", file.string());
  }
}

// The text behind the mark; none if there is no mark or no text that ends.
std::optional<std::string> tag_in(const std::string& bytes) {
  const std::size_t mark = bytes.find(std::string_view(kPluginMark, sizeof kPluginMark));
  if (mark == std::string::npos) return std::nullopt;
  const std::size_t begin = mark + sizeof kPluginMark;
  const std::size_t end = bytes.find('\0', begin);
  if (end == std::string::npos || end - begin > kLongestTag) return std::nullopt;
  std::string tag = bytes.substr(begin, end - begin);
  const bool printable = std::all_of(tag.begin(), tag.end(), [](char c) { return c >= ' ' && c <= '~'; });
  return printable ? std::optional(std::move(tag)) : std::nullopt;
}

void check_file(const std::filesystem::path& file) {
  const std::string bytes = read_file(file);
  check_whole(file, bytes);
  const auto tag = tag_in(bytes);
  if (!tag) fail("{}: is no Foretell plug-in: it has no ABI tag, which find_package(Foretell) adds to one", file.string());
  if (*tag != plugin_abi_tag())
    fail("{}: was built for {}; this is {}: build it again against this Foretell", file.string(), *tag, plugin_abi_tag());
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
  const PluginCall call({"", "", file.filename().string()}, "its static initialisers");
  pending_strategies() = &pending;
  // Local: two plug-ins may have classes of one name. A symbol that is missing is told now and not in the middle of a run.
  const void* handle = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
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

}  // namespace foretell
