#include "experiments/analysis/offload.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "experiments/util/table.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/moe/expert_load.h"

namespace foretell::analysis {
namespace {

using OffloadJson = nlohmann::ordered_json;

constexpr int kUnionRows[] = {1, 2, 4, 8, 16, 32};

using LayerSteps = std::map<int, std::vector<moe::CacheStep>>;

std::vector<int> rooms_of(const OffloadQuestion& question, int experts) {
  std::vector<int> rooms = question.rooms;
  if (rooms.empty())
    for (const int part : {8, 4, 2})
      if (experts / part > 0) rooms.push_back(experts / part);
  for (const int room : rooms)
    if (room > experts) fail("--room: {} of {} experts", room, experts);
  rooms.erase(std::unique(rooms.begin(), rooms.end()), rooms.end());
  return rooms;
}

OffloadRow replay(const LayerSteps& layers, int experts, int room, bool prefetch) {
  OffloadRow out{.room = room};
  for (const auto& [layer, steps] : layers) {
    out.belady += moe::replay_cache(steps, experts, room, moe::CacheRule::Belady);
    const moe::CacheCount ahead = moe::replay_cache(steps, experts, room, moe::CacheRule::Lru);
    out.ahead += ahead;
    if (!prefetch) {
      out.lru += ahead;
      continue;
    }
    std::vector<moe::CacheStep> bare = steps;
    for (moe::CacheStep& step : bare) step.prefetched.clear();
    out.lru += moe::replay_cache(bare, experts, room, moe::CacheRule::Lru);
  }
  return out;
}

// Windows of so many tokens of each sequence, the last one of what is left.
LayerSteps steps_of(const moe::RouterLog& log, int rows, int prefetch) {
  LayerSteps layers;
  const auto size = static_cast<std::size_t>(rows);
  for (const moe::LoggedSequence& sequence : log.sequences) {
    std::vector<moe::CacheStep>& steps = layers[sequence.layer];
    for (std::size_t first = 0; first < sequence.rows.size(); first += size) {
      std::set<int> needed, named;
      for (std::size_t i = first; i < std::min(first + size, sequence.rows.size()); ++i) {
        const std::vector<int>& row = sequence.rows[i];
        needed.insert(row.begin(), row.end());
        named.insert(row.begin(), row.begin() + std::min<std::ptrdiff_t>(prefetch, std::ssize(row)));
      }
      steps.push_back({{needed.begin(), needed.end()}, {named.begin(), named.end()}});
    }
  }
  return layers;
}

double per(double value, double count) { return count > 0 ? value / count : 0; }

// Of a layer: what a step reads, on average.
double reads(const moe::CacheCount& count) {
  return per(static_cast<double>(count.read()), static_cast<double>(count.steps));
}

double bytes_per_token(const moe::CacheCount& count, const OffloadRow& row, double expert_bytes) {
  return per(static_cast<double>(count.read()) * expert_bytes, row.tokens);
}

double wait_ms_per_token(const moe::CacheCount& count, const OffloadRow& row, const OffloadQuestion& question) {
  return per(static_cast<double>(count.waited) * *question.expert_bytes / *question.bandwidth * 1e3, row.tokens);
}

std::string share_text(const std::optional<double>& value) {
  return value ? fmt::format("{:.1f}%", 100 * *value) : "-";
}

}  // namespace

std::vector<LoggedUnion> logged_unions(const moe::RouterLog& log, std::span<const int> rows) {
  std::vector<LoggedUnion> out;
  for (const int layer : log.layers())
    for (const int count : rows)
      if (const auto of = moe::window_union(log, layer, count)) out.push_back({layer, *of});
  return out;
}

std::vector<OffloadRow> offload_of(const moe::RouterLog& log, const OffloadQuestion& question) {
  std::vector<OffloadRow> out;
  const auto layers = static_cast<double>(log.layers().size());
  for (const int rows : question.rows) {
    const LayerSteps steps = steps_of(log, rows, question.prefetch);
    for (const int room : rooms_of(question, log.experts)) {
      OffloadRow row = replay(steps, log.experts, room, question.prefetch > 0);
      row.rows = rows;
      row.tokens = static_cast<double>(log.rows()) / layers;
      out.push_back(row);
    }
  }
  return out;
}

std::vector<OffloadRow> offload_of(std::span<const results::GenerationRecord> records,
                                   const OffloadQuestion& question) {
  LayerSteps layers;
  int experts = 0;
  double tokens = 0;
  for (const results::GenerationRecord& record : records) {
    if (record.arm != results::PipelineVariant::Method || record.repeat != 0) continue;
    for (const RoundRecord& round : record.rounds) {
      if (!round.experts) continue;
      experts = std::max(experts, round.experts->experts);
      tokens += round.emitted;
      for (const LayerExperts& layer : round.experts->layers) {
        moe::CacheStep& step = layers[layer.layer].emplace_back();
        for (const ExpertRows& one : layer.load) step.needed.push_back(one.expert);
      }
    }
  }
  if (experts == 0) fail("no round says which experts it used: expected a target with a mixture of experts");
  std::vector<OffloadRow> out;
  for (const int room : rooms_of(question, experts)) {
    OffloadRow row = replay(layers, experts, room, false);
    row.tokens = tokens;
    out.push_back(row);
  }
  return out;
}

std::string offload_table(std::span<const OffloadRow> rows, const OffloadQuestion& question) {
  const bool ahead = question.prefetch > 0, bytes = question.expert_bytes.has_value();
  const bool times = bytes && question.bandwidth;
  std::vector<std::string> headings = {"rows", "room", "needed/step", "LRU hits", "Belady's", "read/step"};
  if (bytes) headings.emplace_back("MB/token");
  if (times) headings.emplace_back("wait [ms/token]");
  if (ahead) headings.insert(headings.end(), {"read ahead", "waited for", "read for nothing"});
  if (ahead && times) headings.emplace_back("wait, prefetched");
  util::Table table(headings);
  for (const OffloadRow& row : rows) {
    const auto steps = static_cast<double>(row.lru.steps);
    std::vector<std::string> cells = {row.rows > 0 ? std::to_string(row.rows) : "as drafted",
                                      std::to_string(row.room),
                                      fmt::format("{:.2f}", per(static_cast<double>(row.lru.needed), steps)),
                                      share_text(row.lru.hit_rate()),
                                      share_text(row.belady.hit_rate()),
                                      fmt::format("{:.2f}", reads(row.lru))};
    if (bytes) cells.push_back(fmt::format("{:.3f}", bytes_per_token(row.lru, row, *question.expert_bytes) * 1e-6));
    if (times) cells.push_back(fmt::format("{:.3f}", wait_ms_per_token(row.lru, row, question)));
    if (ahead)
      for (const std::int64_t count : {row.ahead.prefetched, row.ahead.waited, row.ahead.wasted})
        cells.push_back(fmt::format("{:.2f}", per(static_cast<double>(count), steps)));
    if (ahead && times) cells.push_back(fmt::format("{:.3f}", wait_ms_per_token(row.ahead, row, question)));
    table.add(std::move(cells));
  }
  return table.to_string();
}

OffloadJson offload_json(std::span<const OffloadRow> rows, const OffloadQuestion& question) {
  const auto count_json = [&](const moe::CacheCount& count, const OffloadRow& row) {
    OffloadJson out{{"steps", count.steps},
                    {"needed", count.needed},
                    {"hits", count.hits},
                    {"hit_rate", count.hit_rate()},
                    {"prefetched", count.prefetched},
                    {"waited", count.waited},
                    {"wasted", count.wasted},
                    {"read", count.read()}};
    if (question.expert_bytes) out["bytes_per_token"] = bytes_per_token(count, row, *question.expert_bytes);
    if (question.expert_bytes && question.bandwidth) out["wait_ms_per_token"] = wait_ms_per_token(count, row, question);
    return out;
  };
  auto out = OffloadJson::array();
  for (const OffloadRow& row : rows) {
    out.push_back({{"rows", row.rows > 0 ? OffloadJson(row.rows) : OffloadJson(nullptr)},
                   {"room", row.room},
                   {"tokens", row.tokens},
                   {"lru", count_json(row.lru, row)},
                   {"belady", count_json(row.belady, row)}});
    if (question.prefetch > 0) out.back()["prefetched"] = count_json(row.ahead, row);
  }
  return out;
}

std::string router_log_table(const moe::RouterLog& log) {
  util::Table loads({"layer", "rows", "experts/row", "MaxVio", "CV", "entropy", "dead", "shared with the row before"});
  for (const int layer : log.layers()) {
    const moe::LoggedLayer of = moe::logged_layer(log, layer);
    const moe::LoadStatistics statistics = moe::load_statistics(of.load).value_or(moe::LoadStatistics{});
    loads.add({std::to_string(layer), std::to_string(of.rows), fmt::format("{:.2f}", of.experts_per_row()),
               fmt::format("{:.3f}", statistics.max_violation), fmt::format("{:.3f}", statistics.variation),
               fmt::format("{:.3f}", statistics.entropy), std::to_string(statistics.dead),
               share_text(of.neighbour_share())});
  }
  util::Table unions({"layer", "tokens", "windows", "experts", "if uniform", "ratio", "as uniform over"});
  for (const LoggedUnion& one : logged_unions(log, kUnionRows))
    unions.add({std::to_string(one.layer), std::to_string(one.of.rows), std::to_string(one.of.windows),
                fmt::format("{:.2f}", one.of.touched), fmt::format("{:.2f}", one.of.uniform),
                fmt::format("{:.3f}", one.of.touched / one.of.uniform),
                one.of.fitted ? fmt::format("{:.1f}", *one.of.fitted) : "-"});
  return loads.to_string() + "\nDistinct experts of tokens that follow one another:\n\n" + unions.to_string();
}

OffloadJson router_log_json(const moe::RouterLog& log) {
  auto layers = OffloadJson::array(), unions = OffloadJson::array();
  const auto number = [](const std::optional<double>& value) {
    return value ? OffloadJson(*value) : OffloadJson(nullptr);
  };
  for (const int layer : log.layers()) {
    const moe::LoggedLayer of = moe::logged_layer(log, layer);
    const moe::LoadStatistics statistics = moe::load_statistics(of.load).value_or(moe::LoadStatistics{});
    layers.push_back({{"layer", layer},
                      {"rows", of.rows},
                      {"experts_per_row", of.experts_per_row()},
                      {"max_violation", statistics.max_violation},
                      {"variation", statistics.variation},
                      {"entropy", statistics.entropy},
                      {"dead", statistics.dead},
                      {"neighbour_share", number(of.neighbour_share())},
                      {"load", of.load}});
  }
  for (const LoggedUnion& one : logged_unions(log, kUnionRows))
    unions.push_back({{"layer", one.layer},
                      {"tokens", one.of.rows},
                      {"windows", one.of.windows},
                      {"touched", one.of.touched},
                      {"uniform", one.of.uniform},
                      {"fitted_experts", number(one.of.fitted)}});
  return {{"model", log.model.empty() ? OffloadJson(nullptr) : OffloadJson(log.model)},
          {"experts", log.experts},
          {"rows", log.rows()},
          {"warm_up", log.warm_up},
          {"layers", layers},
          {"touched", unions}};
}

}  // namespace foretell::analysis
