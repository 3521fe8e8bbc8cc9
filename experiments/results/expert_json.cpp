#include "experiments/results/expert_json.h"

#include <nlohmann/json.hpp>

namespace foretell::results {
namespace {

using ExpertJson = nlohmann::ordered_json;

constexpr std::int64_t kMostRows = 1 << 30;

ExpertJson share_json(const std::optional<double>& value) { return value ? ExpertJson(*value) : ExpertJson(nullptr); }

int count_of(const io::OrderedJsonView& json, std::string_view key, std::int64_t low = 0,
             std::int64_t high = kMostRows) {
  return static_cast<int>(json.at(key).integer(low, high));
}

LayerExperts layer_from(const io::OrderedJsonView& json, int experts, int first_layer) {
  LayerExperts out{.layer = count_of(json, "layer", first_layer, kMostLayers - 1),
                   .rows = count_of(json, "rows"),
                   .dropped = count_of(json, "dropped"),
                   .pairs = count_of(json, "pairs"),
                   .shared = count_of(json, "shared"),
                   .together = count_of(json, "together", 0, experts)};
  const io::OrderedJsonView load = json.at("load");
  for (std::size_t i = 0; i < load.size(); ++i) {
    const io::OrderedJsonView entry = load.at(i);
    if (entry.size() != 2) entry.expected("an expert and its rows");
    const int expert =
        static_cast<int>(entry.at(0).integer(out.load.empty() ? 0 : out.load.back().expert + 1, experts - 1));
    out.load.push_back({expert, static_cast<int>(entry.at(1).integer(1, out.rows))});
  }
  if (out.dropped > out.rows) json.at("dropped").refuse("is more than its rows");
  return out;
}

ExpertJson layer_json(const moe::LayerLoad& layer) {
  ExpertJson out{{"layer", layer.layer},
                 {"rounds", layer.rounds},
                 {"rows", layer.rows},
                 {"touched_per_round", layer.touched},
                 {"uniform_per_round", layer.uniform},
                 {"together_per_round", layer.together},
                 {"locality", share_json(layer.locality())},
                 {"neighbour_share", share_json(layer.neighbour_share())},
                 {"dropped_share", share_json(layer.dropped_share())},
                 {"round_max_violation", layer.max_violation}};
  if (const auto statistics = moe::load_statistics(layer.load))
    out.update({{"max_violation", statistics->max_violation},
                {"variation", statistics->variation},
                {"entropy", statistics->entropy},
                {"dead", statistics->dead}});
  out["load"] = layer.load;
  return out;
}

}  // namespace

ExpertJson to_json(const ExpertUse& use) {
  auto layers = ExpertJson::array();
  for (const LayerExperts& layer : use.layers) {
    auto load = ExpertJson::array();
    for (const ExpertRows& one : layer.load) load.push_back({one.expert, one.rows});
    layers.push_back({{"layer", layer.layer},
                      {"load", load},
                      {"rows", layer.rows},
                      {"dropped", layer.dropped},
                      {"pairs", layer.pairs},
                      {"shared", layer.shared},
                      {"together", layer.together}});
  }
  return {{"experts", use.experts}, {"sequences", use.sequences}, {"layers", layers}};
}

ExpertUse expert_use_from(const io::OrderedJsonView& json) {
  ExpertUse use{.experts = count_of(json, "experts", 1, kMostExperts), .sequences = count_of(json, "sequences", 1)};
  const io::OrderedJsonView layers = json.at("layers");
  for (std::size_t i = 0; i < layers.size(); ++i)
    use.layers.push_back(layer_from(layers.at(i), use.experts, use.layers.empty() ? 0 : use.layers.back().layer + 1));
  return use;
}

ExpertJson to_json(const ExpertSummary& summary) {
  const auto total = moe::load_summary(summary.layers);
  if (!total) return nullptr;
  auto layers = ExpertJson::array(), by_rows = ExpertJson::array();
  for (const moe::LayerLoad& layer : summary.layers) layers.push_back(layer_json(layer));
  for (const auto& [rows, of] : summary.by_rows)
    by_rows.push_back({{"rows", rows}, {"rounds", of.rounds}, {"touched", of.touched}, {"uniform", of.uniform}});
  return {{"touched_per_round", total->touched},
          {"uniform_per_round", total->uniform},
          {"together_per_round", total->together},
          {"locality", share_json(total->locality)},
          {"rows_per_expert", total->rows_per_expert},
          {"neighbour_share", share_json(total->neighbour_share)},
          {"dropped_share", share_json(total->dropped_share)},
          {"max_violation", total->max_violation},
          {"round_max_violation", total->round_max_violation},
          {"variation", total->variation},
          {"entropy", total->entropy},
          {"dead", total->dead},
          {"by_rows", by_rows},
          {"layers", layers}};
}

}  // namespace foretell::results
