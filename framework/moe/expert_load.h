// How evenly the experts of a mixture are loaded, and how many of them rows touch together.
//
// Contract: pure functions of counts and of round records. A number that would divide by zero is absent, never 0.
// Against what is measured stands uniform, independent routing: t rows of k experts touch E (1 - (1 - k/E)^t) of E
// (MoESD, Huang et al. 2025, arXiv 2505.19645). Real routing has favourites and repeats itself, so it touches fewer;
// fitted_experts() says how many experts uniform routing would have to have to touch as few.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "framework/api/round.h"

namespace foretell::moe {

struct LoadStatistics {
  double max_violation = 0;  // [1] (largest - mean) / mean: MaxVio (Wang et al. 2024, arXiv 2408.15664)
  double min_violation = 0;  // [1] (mean - smallest) / mean
  double variation = 0;      // [1] standard deviation (of the population) / mean
  double entropy = 0;        // [1] of the shares, divided by log E: 1 is even
  double effective = 1;      // experts: exp(entropy in nats)
  int dead = 0;              // experts without a row
};

// Of the rows that each expert got. None where there is no expert or no row.
std::optional<LoadStatistics> load_statistics(std::span<const std::int64_t> rows);

// What the experts of one layer got in all rounds of a run.
struct LayerLoad {
  int layer = 0;
  std::vector<std::int64_t> load = {};  // by expert, rows
  std::int64_t rounds = 0, rows = 0, dropped = 0, pairs = 0, shared = 0;
  double touched = 0;        // distinct experts of one sequence's rows, by round
  double uniform = 0;        // what uniform routing would have touched with as many rows and entries
  double together = 0;       // distinct experts of a forward with all its sequences, by round
  double max_violation = 0;  // mean of the rounds' own

  double experts_per_row() const;          // entries that were not empty
  std::optional<double> locality() const;  // [1] touched / uniform
  std::optional<double> neighbour_share()
      const;                                    // [1] shared / pairs: experts that a row has in common with its parent
  std::optional<double> dropped_share() const;  // [1] of rows
};

// By layer; empty where no round has experts.
std::vector<LayerLoad> layer_loads(std::span<const RoundRecord> rounds);

// Over all layers together: loads of different layers are different experts.
struct LoadSummary {
  double touched = 0, uniform = 0, together = 0;         // means over layers and rounds
  double rows_per_expert = 0;                            // that was touched
  double max_violation = 0, variation = 0, entropy = 0;  // means over layers, of the load of the whole run
  double round_max_violation = 0;                        // mean over rounds and layers
  int dead = 0;                                          // of all layers
  std::optional<double> locality = {}, neighbour_share = {}, dropped_share = {};
};
std::optional<LoadSummary> load_summary(std::span<const LayerLoad> layers);

// Distinct experts by how many rows were scored, over all layers.
struct TouchedByRows {
  std::int64_t rounds = 0;          // times layers
  double touched = 0, uniform = 0;  // means
};
std::map<int, TouchedByRows> touched_by_rows(std::span<const RoundRecord> rounds);

// With how many experts uniform routing of k a row would touch `touched` with so many rows; between k and infinity.
// None where `touched` is no possible number of rows and k.
std::optional<double> fitted_experts(double k, double rows, double touched);

}  // namespace foretell::moe
