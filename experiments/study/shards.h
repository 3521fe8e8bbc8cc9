// A study cut into parts that run apart, on one machine or many; merge.h puts them together again.
//
// Contract: shard i of n (from 1) has the cells of a contiguous part of the study's groups, as equal in number as can
// be, so that few groups are cut; one that is cut has a baseline in each part. A shard's results stand in
// <results>/<study>.shard-<i>-of-<n>.
#pragma once

#include <string>

#include "experiments/study/study.h"

namespace foretell::study {

struct Shard {
  int index = 1, count = 1;
};
// "2/8"; an Error for anything else.
Shard parse_shard(const std::string& text);

// Keeps the shard's cells and names its folder.
void keep_shard(Study& study, const Shard& shard);

}  // namespace foretell::study
