#include "experiments/merge.h"

#include <map>
#include <vector>

#include "experiments/provenance.h"
#include "experiments/result_files.h"
#include "experiments/store.h"
#include "framework/base/error.h"
#include "framework/model/files/atomic_file.h"

namespace foretell {
namespace {

// How far a cell's folder is: complete ones first, then those with more answers.
std::pair<bool, std::uintmax_t> progress_of(const std::filesystem::path& cell) {
  std::error_code none;
  const auto size = std::filesystem::file_size(cell / "generations.jsonl", none);
  return none ? std::pair<bool, std::uintmax_t>{false, 0} : std::pair<bool, std::uintmax_t>{Store(cell).finished(), size};
}

// Ordinary files and folders only: what a link shows is somebody else's, and a pipe would be waited for.
void check_copyable(const std::filesystem::path& cell) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(cell))
    if (entry.is_symlink() || !(entry.is_regular_file() || entry.is_directory()))
      fail("{}: is {}; a cell's folder holds ordinary files only", entry.path().string(),
           entry.is_symlink() ? "a symbolic link" : "no ordinary file");
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

// The index that all folders share.
StudyIndex common_index(std::span<const std::filesystem::path> folders, const std::filesystem::path& out) {
  StudyIndex index = read_study_index(folders.front());
  for (const auto& folder : folders) {
    const StudyIndex other = read_study_index(folder);
    if (other.study != index.study || other.json.at("cells") != index.json.at("cells"))
      fail("{} and {} are of different studies, or of one whose file has changed: their cells are not the same", folders.front().string(),
           folder.string());
  }
  if (std::filesystem::exists(out / "study.json") && read_study_index(out).json.at("cells") != index.json.at("cells"))
    fail("{}: holds another study, or one whose file has changed", out.string());
  return index;
}

}  // namespace

Merged merge_results(std::span<const std::filesystem::path> folders, const std::filesystem::path& out, bool one_program) {
  FORETELL_CHECK(!folders.empty(), "nothing to merge");
  const StudyIndex index = common_index(folders, out);
  Merged merged{.study = index.study, .folder = out};
  std::map<std::string, std::filesystem::path> best;
  std::vector<CellOrigin> origins;
  for (const IndexedCell& cell : index.cells) {
    refuse_link_out(out / cell.hash, out);
    std::filesystem::path& from = best[cell.hash] = out / cell.hash;
    for (const auto& folder : folders)
      if (progress_of(folder / cell.hash) > progress_of(from)) from = folder / cell.hash;
    origins.push_back(read_origin(from));
    if (from == out / cell.hash) continue;
    refuse_link_out(from, from.parent_path());
    check_copyable(from);
  }
  merged.notes = check_origins(origins, one_program);
  make_folder(out);
  write_file(out / "study.json", index.json.dump(2) + "\n");
  for (const IndexedCell& cell : index.cells) {
    if (best[cell.hash] != out / cell.hash) copy_cell(best[cell.hash], out / cell.hash);
    ++merged.cells;
    merged.complete += Store(out / cell.hash).finished();
  }
  return merged;
}

}  // namespace foretell
