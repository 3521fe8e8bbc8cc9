#include "experiments/study/shards.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "framework/core/error.h"

namespace foretell::study {
namespace {

std::optional<int> whole_number(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

}  // namespace

Shard parse_shard(const std::string& text) {
  const std::size_t slash = text.find('/');
  const auto index = whole_number(std::string_view(text).substr(0, slash));
  const auto count = slash == std::string::npos ? std::nullopt : whole_number(std::string_view(text).substr(slash + 1));
  if (!index || !count || *count < 1 || *index < 1 || *index > *count)
    fail("--shard: '{}' is not of the form I/N with I from 1 to N: 1/4 is the first of four", text);
  return {*index, *count};
}

void keep_shard(Study& study, const Shard& shard) {
  std::vector<std::string> groups;
  for (const Cell& cell : study.cells)
    if (std::find(groups.begin(), groups.end(), cell.group) == groups.end()) groups.push_back(cell.group);
  const auto place = [&](const Cell& cell) { return std::find(groups.begin(), groups.end(), cell.group); };
  std::stable_sort(study.cells.begin(), study.cells.end(),
                   [&](const Cell& a, const Cell& b) { return place(a) < place(b); });
  const auto cut = [&](int shards) { return static_cast<std::ptrdiff_t>(study.cells.size()) * shards / shard.count; };
  const std::vector<Cell> kept(study.cells.begin() + cut(shard.index - 1), study.cells.begin() + cut(shard.index));
  study.cells = kept;
  study.folder = fmt::format("{}.shard-{}-of-{}", study.name, shard.index, shard.count);
}

}  // namespace foretell::study
