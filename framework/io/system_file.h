// Small files in which the kernel tells of the machine (/proc, /sys).
//
// Contract: what is missing, unreadable or longer than 64 KiB is absent. Not for files of users: a mistake in one of
// those has to be told.
#pragma once

#include <charconv>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

#include "framework/core/text.h"

namespace foretell::io {

// Without white space at both ends.
inline std::optional<std::string> read_system_file(const std::filesystem::path& path) {
  constexpr std::size_t kLimit = std::size_t{64} << 10;
  std::ifstream file(path, std::ios::binary);
  std::string text(kLimit, '\0');
  // A folder opens and does not read; some counters open and fail when they are read.
  file.read(text.data(), static_cast<std::streamsize>(kLimit));
  if (!file.eof()) return std::nullopt;
  text.resize(static_cast<std::size_t>(file.gcount()));
  return std::string(trimmed(text));
}

// All of `text` as one number.
template <class Number>
std::optional<Number> system_number(std::string_view text) {
  Number value{};
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace foretell::io
