// How often the first, second, ... proposal at the anchor is the accepted one: what Sequoia's tree is made from.
//
// Contract: decodes the first turn of every conversation of a cell whose drafter makes trees, and counts the rounds in
// which each rank was accepted. The draft must be one level deep: then every round is a trial of every rank.
#pragma once

#include <functional>
#include <vector>

#include "experiments/cell/cell_setup.h"

namespace foretell::analysis {

struct RankCounts {
  std::vector<int> accepted;  // by rank
  int rounds = 0;
  std::vector<double> rates() const;
};

// `on_prompt` is called after each prompt.
RankCounts count_accepted_ranks(const study::Cell& cell, const cell::CellSetup& setup, int ranks,
                                const std::function<void()>& on_prompt);

}  // namespace foretell::analysis
