// What the experts of a mixture did, as records and summaries hold it.
//
// Contract: a round's entry is {"experts": E, "sequences": n, "layers": [{"layer", "load": [[expert, rows], ..],
// "rows", "dropped", "pairs", "shared", "together"}, ..]}; readers of older versions pass over it. What is read is
// bounded: at most kMostLayers layers of kMostExperts experts, each named once and in order, anything else is an Error.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <span>
#include <vector>

#include "framework/api/round.h"
#include "framework/io/json_reader.h"
#include "framework/moe/expert_load.h"

namespace foretell::results {

inline constexpr int kMostLayers = 1024, kMostExperts = 4096;

nlohmann::ordered_json to_json(const ExpertUse& use);
ExpertUse expert_use_from(const io::OrderedJsonView& json);

// Of a summary: means over all layers, what stands for each layer, and what was touched by how many rows.
struct ExpertSummary {
  std::vector<moe::LayerLoad> layers = {};
  std::map<int, moe::TouchedByRows> by_rows = {};
};
nlohmann::ordered_json to_json(const ExpertSummary& summary);

}  // namespace foretell::results
