// Sets of sublayers that a draft leaves out: published ones and rules for them.
//
// Contract: layers count from 0. A file is YAML or JSON, {NAME: {attention: [2, 5], mlp: [9]}, ...}, as SWIFT (Xia et
// al. 2024, arXiv 2410.06916) publishes its sets; whatever does not fit is an Error of one line with its place.
// Includes no LibTorch.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "framework/core/config_value.h"

namespace foretell::exits {

struct SkippedSublayers {
  std::vector<int> attention = {}, mlp = {};  // increasing
  friend bool operator==(const SkippedSublayers&, const SkippedSublayers&) = default;
};

SkippedSublayers layer_set(const ConfigValue& file, const std::string& set, int num_layers, const std::string& name);
SkippedSublayers load_layer_set(const std::filesystem::path& path, const std::string& set, int num_layers);

// The layers that Unified Layer Skipping (Liu et al. 2024, arXiv 2404.06954) leaves out for a speed-up: the first and
// the last stay, and of those between every interval-th, floor(L / speedup) in all.
std::vector<int> spread_layers(int num_layers, double speedup);

}  // namespace foretell::exits
