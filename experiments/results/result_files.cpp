#include "experiments/results/result_files.h"

#include <algorithm>
#include <set>

#include "framework/core/error.h"
#include "framework/core/input_file.h"
#include "framework/core/text.h"
#include "framework/io/file_bytes.h"

namespace foretell::results {
namespace {

constexpr std::size_t kMostCells = 100000;  // of a study

// Where a path leads, links followed as far as there is something.
std::filesystem::path real_path(const std::filesystem::path& path) {
  std::error_code failed;
  auto real = std::filesystem::absolute(path.empty() ? "." : path, failed);
  if (!failed) real = std::filesystem::weakly_canonical(real, failed);
  if (failed) fail("{}: cannot be followed: {}", path.string(), failed.message());
  return real;
}

IndexedCell cell_of(const io::OrderedJsonView& cell) {
  IndexedCell out{.name = cell.at("name").string(),
                  .hash = cell.at("hash").string(),
                  .is_baseline = cell.boolean_or("is_baseline", false)};
  if (!util::is_cell_hash(out.hash))
    cell.at("hash").refuse(fmt::format("expected 16 hexadecimal digits, found '{}'", out.hash));
  out.settings = nlohmann::ordered_json::object();
  if (const auto settings = cell.find("settings")) {
    settings->entries();
    out.settings = settings->raw();
  }
  return out;
}

}  // namespace

void refuse_link_out(const std::filesystem::path& path, const std::filesystem::path& below) {
  const auto outer = real_path(below), real = real_path(path);
  const auto [end, at] = std::mismatch(outer.begin(), outer.end(), real.begin(), real.end());
  if (end != outer.end())
    fail("{}: is a symbolic link that leads out of {}, to {}; nothing is written there", path.string(), below.string(),
         real.string());
}

std::string read_result_file(const std::filesystem::path& file) {
  check_regular_file(file);
  return io::read_file_bytes(file);
}

ResultJson::ResultJson(const std::filesystem::path& file) : ResultJson(read_result_file(file), file.string()) {}

ResultJson::ResultJson(std::string_view bytes, std::string name)
    : where_{std::move(name), std::nullopt}, json_(io::parse_ordered_json(bytes, where_)) {
  if (!json_.is_object()) view().expected("an object");
}

std::optional<ResultJson> ResultJson::if_there(const std::filesystem::path& file) {
  std::error_code ignored;
  return std::filesystem::exists(file, ignored) ? std::optional<ResultJson>(file) : std::nullopt;
}

StudyIndex study_index_of(const ResultJson& file) {
  const io::OrderedJsonView index = file.view();
  StudyIndex out{.study = index.at("study").string(),
                 .description = index.string_or("description", ""),
                 .file = index.string_or("file", ""),
                 .json = file.json()};
  const io::OrderedJsonView cells = index.at("cells");
  if (cells.size() > kMostCells)
    cells.refuse(fmt::format("{}; at most {} are read", counted(cells.size(), "cell"), kMostCells));
  std::set<std::string> known;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    out.cells.push_back(cell_of(cells.at(i)));
    if (!known.insert(out.cells.back().hash).second)
      cells.at(i).at("hash").refuse(fmt::format("'{}' is another cell's already", out.cells.back().hash));
  }
  return out;
}

StudyIndex read_study_index(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "study.json";
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored))
    fail("{}: is not the folder of a study; expected results/STUDY with study.json in it", folder.string());
  return study_index_of(ResultJson(file));
}

}  // namespace foretell::results
