// The shards of a study put together again.
//
// Contract: a cell that several folders have is taken from the one that is furthest, a damaged one (summary_check.h)
// last of all, and such a one is told and not complete; what `out` has already counts as one of them. Nothing but `out`
// is written, and nothing in it but the cells of the study: a folder of another study, a hash that is none, a symbolic
// link that leads out of a folder, and cells of other weights or another program (provenance.h) are Errors before
// anything is copied.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace foretell::report {

struct Merged {
  std::string study;
  int cells = 0, complete = 0;  // of the study; of these, complete in what was merged
  std::filesystem::path folder;
  std::vector<std::string> notes = {};  // what differs between the cells' machines, and what is damaged
};
// `one_program`: cells of two revisions of Foretell or of a plug-in are refused. check_mergeable() finds what is
// refused and writes nothing.
void check_mergeable(std::span<const std::filesystem::path> folders, const std::filesystem::path& out,
                     bool one_program = true);
Merged merge_results(std::span<const std::filesystem::path> folders, const std::filesystem::path& out,
                     bool one_program = true);

}  // namespace foretell::report
