#include "framework/decoding/expert_use.h"

#include <algorithm>

namespace foretell::decoding {
namespace {

// By row of the sequence where it stands in the layer's rows; -1: it did not come to the layer.
std::vector<int> places_in(const model::RoutedLayer& layer, int first, int rows) {
  std::vector<int> places(static_cast<std::size_t>(rows), -1);
  if (layer.rows.empty()) {
    for (int row = 0; row < rows; ++row) places[static_cast<std::size_t>(row)] = first + row;
    return places;
  }
  for (std::size_t i = 0; i < layer.rows.size(); ++i)
    if (const int row = layer.rows[i] - first; row >= 0 && row < rows)
      places[static_cast<std::size_t>(row)] = static_cast<int>(i);
  return places;
}

std::vector<int> experts_at(const model::RoutedLayer& layer, int place) {
  std::vector<int> out;
  for (int i = place * layer.per_row; i < (place + 1) * layer.per_row; ++i)
    if (const int expert = layer.experts[static_cast<std::size_t>(i)]; expert >= 0) out.push_back(expert);
  std::sort(out.begin(), out.end());
  return out;
}

int in_common(const std::vector<int>& a, const std::vector<int>& b) {
  return static_cast<int>(
      std::ranges::count_if(a, [&](int expert) { return std::binary_search(b.begin(), b.end(), expert); }));
}

LayerExperts use_of(const model::RoutedLayer& layer, int num_experts, int first, std::span<const NodeId> parents) {
  LayerExperts out{.layer = layer.layer};
  const auto rows = static_cast<int>(parents.size());
  const std::vector<int> places = places_in(layer, first, rows);
  std::vector<int> load(static_cast<std::size_t>(num_experts));
  std::vector<std::vector<int>> sent(parents.size());
  for (int row = 0; row < rows; ++row) {
    const auto at = static_cast<std::size_t>(row);
    if (places[at] < 0) continue;
    ++out.rows;
    sent[at] = experts_at(layer, places[at]);
    for (const int expert : sent[at]) ++load[static_cast<std::size_t>(expert)];
    out.dropped += sent[at].empty() ? 1 : 0;
    const NodeId parent = parents[at];
    if (parent >= row || parent < 0 || places[static_cast<std::size_t>(parent)] < 0) continue;
    out.pairs += static_cast<int>(sent[at].size());
    out.shared += in_common(sent[at], sent[static_cast<std::size_t>(parent)]);
  }
  for (int expert = 0; expert < num_experts; ++expert)
    if (const int count = load[static_cast<std::size_t>(expert)]; count > 0) out.load.push_back({expert, count});
  const std::vector<int> all = layer.load(num_experts);
  out.together = num_experts - static_cast<int>(std::count(all.begin(), all.end(), 0));
  return out;
}

}  // namespace

std::optional<ExpertUse> expert_use(const model::ForwardResult& result, int num_experts, int sequences, int first,
                                    std::span<const NodeId> parents) {
  if (result.routed.empty()) return std::nullopt;
  ExpertUse use{.experts = num_experts, .sequences = sequences};
  for (const model::RoutedLayer& layer : result.routed)
    use.layers.push_back(use_of(layer, num_experts, first, parents));
  return use;
}

}  // namespace foretell::decoding
