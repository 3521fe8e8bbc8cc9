#include "experiments/shards.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>

#include "experiments/store.h"
#include "framework/base/error.h"
#include "framework/model/files/atomic_file.h"
#include "framework/text/file_bytes.h"

namespace foretell {
namespace {

using Json = nlohmann::ordered_json;

std::optional<int> whole_number(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

Json index_of(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "study.json";
  if (!std::filesystem::exists(file))
    fail("{}: is not the folder of a study; expected results/STUDY with study.json in it", folder.string());
  const Json index = Json::parse(read_file_bytes(file), nullptr, false);
  if (!index.is_object() || !index.contains("study") || !index.contains("cells") || !index.at("cells").is_array())
    fail("{}: is not the index of a study", file.string());
  return index;
}

// How far a cell's folder is: complete ones first, then those with more answers.
std::pair<bool, std::uintmax_t> progress_of(const std::filesystem::path& cell) {
  std::error_code none;
  const auto size = std::filesystem::file_size(cell / "generations.jsonl", none);
  return none ? std::pair<bool, std::uintmax_t>{false, 0} : std::pair<bool, std::uintmax_t>{Store(cell).finished(), size};
}

// Under another name first, so that a merge that is killed leaves no half cell.
void copy_cell(const std::filesystem::path& from, const std::filesystem::path& to) {
  const std::filesystem::path half = to.string() + ".part";
  std::error_code error;
  std::filesystem::remove_all(half, error);
  std::filesystem::copy(from, half, std::filesystem::copy_options::recursive, error);
  if (!error) std::filesystem::remove_all(to, error);
  if (!error) std::filesystem::rename(half, to, error);
  if (error) fail("{}: cannot be copied to {}: {}", from.string(), to.string(), error.message());
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
  std::stable_sort(study.cells.begin(), study.cells.end(), [&](const Cell& a, const Cell& b) { return place(a) < place(b); });
  const auto cut = [&](int shards) { return static_cast<std::ptrdiff_t>(study.cells.size()) * shards / shard.count; };
  const std::vector<Cell> kept(study.cells.begin() + cut(shard.index - 1), study.cells.begin() + cut(shard.index));
  study.cells = kept;
  study.folder = fmt::format("{}.shard-{}-of-{}", study.name, shard.index, shard.count);
}

Merged merge_results(std::span<const std::filesystem::path> folders, const std::filesystem::path& out) {
  FORETELL_CHECK(!folders.empty(), "nothing to merge");
  const Json index = index_of(folders.front());
  Merged merged{.study = index.at("study"), .folder = out};
  for (const auto& folder : folders)
    if (index_of(folder).at("study") != index.at("study") || index_of(folder).at("cells") != index.at("cells"))
      fail("{} and {} are of different studies, or of one whose file has changed: their cells are not the same", folders.front().string(),
           folder.string());
  make_folder(out);
  if (std::filesystem::exists(out / "study.json") && index_of(out).at("cells") != index.at("cells"))
    fail("{}: holds another study, or one whose file has changed", out.string());
  write_file(out / "study.json", index.dump(2) + "\n");
  for (const Json& cell : index.at("cells")) {
    const std::string hash = cell.at("hash");
    std::filesystem::path best = out / hash;
    for (const auto& folder : folders)
      if (progress_of(folder / hash) > progress_of(best)) best = folder / hash;
    if (best != out / hash) copy_cell(best, out / hash);
    ++merged.cells;
    merged.complete += Store(out / hash).finished();
  }
  return merged;
}

}  // namespace foretell
