// A study cut into parts that run apart, on one machine or many, and put together again.
//
// Contract: shard i of n (from 1) has the cells of a contiguous part of the study's groups, as equal in number as can be, so that few groups are cut; one
// that is cut has a baseline in each part. A shard's results stand in <results>/<study>.shard-<i>-of-<n>.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "experiments/study.h"

namespace foretell {

struct Shard {
  int index = 1, count = 1;
};
// "2/8"; an Error for anything else.
Shard parse_shard(const std::string& text);

// Keeps the shard's cells and names its folder.
void keep_shard(Study& study, const Shard& shard);

struct Merged {
  std::string study;
  int cells = 0, complete = 0;  // of the study; of these, complete in what was merged
  std::filesystem::path folder;
};
// Copies the cells of several folders of one study into `out`. A cell that several have is taken from the one that is furthest; what `out` has already
// counts as one of them. An Error if the folders are of different studies.
Merged merge_results(std::span<const std::filesystem::path> folders, const std::filesystem::path& out);

}  // namespace foretell
