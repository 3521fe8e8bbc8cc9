#include "framework/exits/layer_sets.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "framework/core/error.h"
#include "framework/core/parameters.h"
#include "framework/core/printable.h"

namespace foretell::exits {
namespace {

struct SetOptions {
  int num_layers = 0;
  SkippedSublayers skipped = {};
  void declare(Parameters& p) {
    const double last = num_layers - 1;
    p.add("attention", skipped.attention, "layers whose attention is left out", {.min = 0, .max = last});
    p.add("mlp", skipped.mlp, "layers whose MLP is left out", {.min = 0, .max = last});
  }
};

std::vector<int> sorted(std::vector<int> layers) {
  std::sort(layers.begin(), layers.end());
  layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
  return layers;
}

}  // namespace

SkippedSublayers layer_set(const ConfigValue& file, const std::string& set, int num_layers, const std::string& name) {
  if (!file.is_map()) fail("{}: expected sets by name, {{NAME: {{attention: [..], mlp: [..]}}}}", name);
  const ConfigValue* found = file.find(set);
  if (found == nullptr) {
    std::vector<std::string> names;
    for (const auto& entry : file.entries()) names.push_back(printable(entry.key));
    fail("{}: there is no set '{}'; expected one of {}", name, set, fmt::join(names, ", "));
  }
  SetOptions options{.num_layers = num_layers};
  Parameters::read(*found, fmt::format("set '{}'", set), options);
  return {sorted(std::move(options.skipped.attention)), sorted(std::move(options.skipped.mlp))};
}

SkippedSublayers load_layer_set(const std::filesystem::path& path, const std::string& set, int num_layers) {
  return layer_set(load_yaml(path.string()), set, num_layers, path.string());
}

std::vector<int> spread_layers(int num_layers, double speedup) {
  const int stay = std::max(static_cast<int>(num_layers / speedup), std::min(num_layers, 2));
  const int interval = std::max(num_layers / std::max(stay - 1, 1), 1);
  std::vector<int> out;
  int kept = 2;  // the first and the last
  for (int layer = 1; layer + 1 < num_layers; ++layer) {
    const bool keeps = kept < stay && layer % interval == 0;
    if (keeps)
      ++kept;
    else
      out.push_back(layer);
  }
  return out;
}

}  // namespace foretell::exits
