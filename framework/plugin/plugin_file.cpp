#include "framework/plugin/plugin_file.h"

#include <link.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>

#include "framework/api/abi_tag.h"
#include "framework/core/error.h"

namespace foretell::plugin {
namespace {

constexpr std::size_t kLongestTag = 200;

// Loading a file that was cut short ends in a signal, so what would be mapped is compared with the file's size first.
void check_whole(std::string_view bytes, const std::string& name) {
  ElfW(Ehdr) header{};
  constexpr unsigned char kClass = sizeof(void*) == 8 ? ELFCLASS64 : ELFCLASS32;
  if (bytes.size() >= sizeof header) std::memcpy(&header, bytes.data(), sizeof header);
  if (bytes.size() < sizeof header || !bytes.starts_with(ELFMAG) || header.e_ident[EI_CLASS] != kClass ||
      header.e_type != ET_DYN)
    fail("{}: is no shared library", name);
  for (std::uint64_t i = 0; i < header.e_phnum; ++i) {
    ElfW(Phdr) segment;
    const std::uint64_t at = header.e_phoff + i * header.e_phentsize;
    bool inside = header.e_phoff <= bytes.size() && at + sizeof segment <= bytes.size();
    if (inside) {
      std::memcpy(&segment, bytes.data() + at, sizeof segment);
      inside = segment.p_offset <= bytes.size() && segment.p_filesz <= bytes.size() - segment.p_offset;
    }
    if (!inside) fail("{}: is no whole shared library: it was cut short", name);
  }
}

// The text behind the mark; none if there is no mark or no text that ends.
std::optional<std::string> tag_in(std::string_view bytes) {
  const std::size_t mark = bytes.find(std::string_view(kPluginMark, sizeof kPluginMark));
  if (mark == std::string::npos) return std::nullopt;
  const std::size_t begin = mark + sizeof kPluginMark;
  const std::size_t end = bytes.find('\0', begin);
  if (end == std::string::npos || end - begin > kLongestTag) return std::nullopt;
  std::string tag(bytes.substr(begin, end - begin));
  const bool printable = std::all_of(tag.begin(), tag.end(), [](char c) { return c >= ' ' && c <= '~'; });
  return printable ? std::optional(std::move(tag)) : std::nullopt;
}

}  // namespace

std::string read_plugin_tag(std::string_view bytes, const std::string& name) {
  check_whole(bytes, name);
  auto tag = tag_in(bytes);
  if (!tag) fail("{}: is no Foretell plug-in: it has no ABI tag, which find_package(Foretell) adds to one", name);
  return std::move(*tag);
}

}  // namespace foretell::plugin
