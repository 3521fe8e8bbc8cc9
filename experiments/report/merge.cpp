#include "experiments/report/merge.h"

#include <compare>
#include <map>
#include <vector>

#include "experiments/results/provenance.h"
#include "experiments/results/result_files.h"
#include "experiments/results/store.h"
#include "experiments/results/summary_check.h"
#include "framework/core/error.h"
#include "framework/io/atomic_file.h"

namespace foretell::report {
namespace {

// How far a cell's folder is: whole and complete ones first, then whole ones with more answers, then damaged ones.
struct Progress {
  bool there = false, whole = false, complete = false;
  std::uintmax_t size = 0;
  auto operator<=>(const Progress&) const = default;  // NOLINT(modernize-use-nullptr): a fault of clang-tidy 14
};

Progress progress_of(const std::filesystem::path& cell) {
  std::error_code none;
  const auto size = std::filesystem::file_size(cell / "generations.jsonl", none);
  if (none) return {};
  const bool whole = results::damage_of(cell).empty();
  return {true, whole, whole && results::Store(cell).finished(), size};
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
results::StudyIndex common_index(std::span<const std::filesystem::path> folders, const std::filesystem::path& out) {
  results::StudyIndex index = results::read_study_index(folders.front());
  for (const auto& folder : folders) {
    const results::StudyIndex other = results::read_study_index(folder);
    if (other.study != index.study || other.json.at("cells") != index.json.at("cells"))
      fail("{} and {} are of different studies, or of one whose file has changed: their cells are not the same",
           folders.front().string(), folder.string());
  }
  if (std::filesystem::exists(out / "study.json") &&
      results::read_study_index(out).json.at("cells") != index.json.at("cells"))
    fail("{}: holds another study, or one whose file has changed", out.string());
  return index;
}

// What is to be done: where each cell is taken from.
struct MergePlan {
  results::StudyIndex index;
  std::map<std::string, std::filesystem::path> best = {};  // by hash
  std::vector<std::string> notes = {};
};

// Reads and checks everything, and writes nothing.
MergePlan plan_merge(std::span<const std::filesystem::path> folders, const std::filesystem::path& out,
                     bool one_program) {
  FORETELL_CHECK(!folders.empty(), "nothing to merge");
  MergePlan plan{common_index(folders, out)};
  std::vector<results::CellOrigin> origins;
  for (const results::IndexedCell& cell : plan.index.cells) {
    results::refuse_link_out(out / cell.hash, out);
    std::filesystem::path& from = plan.best[cell.hash] = out / cell.hash;
    Progress furthest = progress_of(from);
    for (const auto& folder : folders) {
      const Progress other = progress_of(folder / cell.hash);
      if (other > furthest) {
        from = folder / cell.hash;
        furthest = other;
      }
    }
    origins.push_back(results::read_origin(from));
    if (from == out / cell.hash) continue;
    results::refuse_link_out(from, from.parent_path());
    check_copyable(from);
  }
  plan.notes = results::check_origins(origins, one_program);
  return plan;
}

}  // namespace

void check_mergeable(std::span<const std::filesystem::path> folders, const std::filesystem::path& out,
                     bool one_program) {
  plan_merge(folders, out, one_program);
}

Merged merge_results(std::span<const std::filesystem::path> folders, const std::filesystem::path& out,
                     bool one_program) {
  const MergePlan plan = plan_merge(folders, out, one_program);
  Merged merged{.study = plan.index.study, .folder = out, .notes = plan.notes};
  io::make_folder(out);
  io::write_file(out / "study.json", plan.index.json.dump(2) + "\n");
  for (const results::IndexedCell& cell : plan.index.cells) {
    const std::filesystem::path& from = plan.best.at(cell.hash);
    const std::filesystem::path to = out / cell.hash;
    if (from != to) copy_cell(from, to);
    ++merged.cells;
    const std::string damage = results::damage_of(to);
    merged.complete += damage.empty() && results::Store(to).finished();
    if (!damage.empty())
      merged.notes.push_back(
          fmt::format("damaged: {}; `foretell run` with the same study runs what is missing again", damage));
  }
  return merged;
}

}  // namespace foretell::report
