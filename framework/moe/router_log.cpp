#include "framework/moe/router_log.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "framework/core/error.h"
#include "framework/cost/model_costs.h"
#include "framework/io/file_bytes.h"
#include "framework/io/json_reader.h"
#include "framework/moe/expert_load.h"

namespace foretell::moe {
namespace {

constexpr std::int64_t kLastToken = std::int64_t{1} << 40;

struct RawRow {
  std::int64_t token;
  std::vector<int> experts;
};
using Streams = std::map<std::pair<std::string, int>, std::vector<RawRow>>;  // by request and layer

std::vector<int> ids_of(const io::JsonView& row) {
  const io::JsonView list = row.at("topk_ids");
  std::vector<int> ids;
  for (std::size_t i = 0; i < list.size(); ++i)
    ids.push_back(static_cast<int>(list.at(i).integer(0, kMostLogExperts - 1)));
  std::vector<int> sorted = ids;
  std::sort(sorted.begin(), sorted.end());
  if (ids.empty() || std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end())
    list.expected("at least one expert, each of them once");
  return ids;
}

// Best first, where the file says how much each counts.
std::vector<int> experts_of(const io::JsonView& row) {
  std::vector<int> ids = ids_of(row);
  const auto weights = row.find("topk_weights");
  if (!weights) return ids;
  if (weights->size() != ids.size()) weights->expected(fmt::format("{} weights", ids.size()));
  std::vector<double> values;
  values.reserve(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) values.push_back(weights->at(i).number());
  std::vector<std::size_t> order(ids.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values[a] > values[b]; });
  std::vector<int> out;
  out.reserve(order.size());
  for (const std::size_t place : order) out.push_back(ids[place]);
  return out;
}

void read_meta(const io::JsonView& meta, RouterLog& log) {
  log.model = meta.string_or("model_id", log.model);
  if (!meta.find("num_experts")) return;
  const auto experts = static_cast<int>(meta.at("num_experts").integer(1, kMostLogExperts));
  if (log.experts_known && experts != log.experts)
    meta.at("num_experts").refuse(fmt::format("is {}, an earlier line says {}", experts, log.experts));
  log.experts = experts;
  log.experts_known = true;
}

void read_route(const io::JsonView& row, Streams& streams) {
  const auto layer = static_cast<int>(row.at("layer").integer(0, kMostLogLayers - 1));
  const std::int64_t token = row.at("token_idx").integer(0, kLastToken);
  streams[{row.string_or("req_id", ""), layer}].push_back({token, experts_of(row)});
}

Streams read_lines(std::string_view bytes, const std::string& name, RouterLog& log) {
  Streams streams;
  int rows = 0;
  io::for_each_json_line(bytes, name, [&](const io::JsonView& line) {
    const std::string type = line.string_or("type", "route");
    if (type == "meta") {
      read_meta(line, log);
    } else if (type == "route") {
      if (++rows > kMostLogRows) fail_at(line.where(), "more than {} rows", kMostLogRows);
      read_route(line, streams);
    } else {
      line.at("type").expected("\"meta\" or \"route\"");
    }
  });
  if (rows == 0) fail("{}: no row says where a token was routed: expected lines with topk_ids", name);
  return streams;
}

// Cuts a stream into sequences.
void add_sequences(const std::string& request, int layer, std::vector<RawRow>& rows, int warm_up_run, RouterLog& log) {
  bool follows = false;
  for (std::size_t first = 0; first < rows.size();) {
    std::size_t end = first + 1;
    while (end < rows.size() && rows[end].experts == rows[first].experts) ++end;
    if (warm_up_run > 0 && end - first >= static_cast<std::size_t>(warm_up_run)) {
      log.warm_up += static_cast<std::int64_t>(end - first);
      follows = false;
      first = end;
      continue;
    }
    for (; first < end; ++first) {
      if (!follows || rows[first].token != rows[first - 1].token + 1) log.sequences.push_back({request, layer, {}});
      log.sequences.back().rows.push_back(std::move(rows[first].experts));
      follows = true;
    }
  }
}

int in_common(const std::vector<int>& a, const std::vector<int>& b) {
  return static_cast<int>(
      std::ranges::count_if(a, [&](int expert) { return std::find(b.begin(), b.end(), expert) != b.end(); }));
}

}  // namespace

std::int64_t RouterLog::rows() const {
  std::int64_t sum = 0;
  for (const LoggedSequence& sequence : sequences) sum += static_cast<std::int64_t>(sequence.rows.size());
  return sum;
}

std::vector<int> RouterLog::layers() const {
  std::set<int> all;
  for (const LoggedSequence& sequence : sequences) all.insert(sequence.layer);
  return {all.begin(), all.end()};
}

RouterLog read_router_log(const std::filesystem::path& file, const RouterLogOptions& options) {
  return parse_router_log(io::read_file_bytes(file), file.string(), options);
}

RouterLog parse_router_log(std::string_view bytes, const std::string& name, const RouterLogOptions& options) {
  RouterLog log;
  Streams streams = read_lines(bytes, name, log);
  int highest = 0;
  for (const auto& [key, rows] : streams)
    for (const RawRow& row : rows) highest = std::max(highest, *std::ranges::max_element(row.experts));
  if (options.experts) log.experts = *options.experts;
  log.experts_known = log.experts_known || options.experts;
  if (!log.experts_known) log.experts = highest + 1;
  if (highest >= log.experts) fail("{}: a row goes to expert {}, there are {}", name, highest, log.experts);
  for (auto& [key, rows] : streams) add_sequences(key.first, key.second, rows, options.warm_up_run, log);
  if (log.sequences.empty())
    fail("{}: all {} rows repeat one routing for at least {} rows each, as before there are requests", name,
         log.warm_up, options.warm_up_run);
  return log;
}

std::optional<double> LoggedLayer::neighbour_share() const {
  if (pairs == 0) return std::nullopt;
  return static_cast<double>(shared) / static_cast<double>(pairs);
}

LoggedLayer logged_layer(const RouterLog& log, int layer) {
  LoggedLayer out{.load = std::vector<std::int64_t>(static_cast<std::size_t>(log.experts))};
  for (const LoggedSequence& sequence : log.sequences) {
    if (sequence.layer != layer) continue;
    const std::vector<int>* before = nullptr;
    for (const std::vector<int>& row : sequence.rows) {
      for (const int expert : row) ++out.load[static_cast<std::size_t>(expert)];
      ++out.rows;
      out.entries += static_cast<std::int64_t>(row.size());
      if (before) {
        out.pairs += static_cast<std::int64_t>(row.size());
        out.shared += in_common(row, *before);
      }
      before = &row;
    }
  }
  return out;
}

std::optional<WindowUnion> window_union(const RouterLog& log, int layer, int rows) {
  FORETELL_CHECK(rows > 0, "windows of {} rows", rows);
  WindowUnion out{.rows = rows};
  double entries = 0;
  std::vector<std::int64_t> seen(static_cast<std::size_t>(log.experts), -1);  // by expert the last window with it
  const auto size = static_cast<std::size_t>(rows);
  for (const LoggedSequence& sequence : log.sequences) {
    if (sequence.layer != layer) continue;
    for (std::size_t first = 0; first + size <= sequence.rows.size(); first += size) {
      for (std::size_t i = first; i < first + size; ++i)
        for (const int expert : sequence.rows[i]) {
          std::int64_t& last = seen[static_cast<std::size_t>(expert)];
          out.touched += last != out.windows ? 1 : 0;
          last = out.windows;
          ++entries;
        }
      ++out.windows;
    }
  }
  if (out.windows == 0) return std::nullopt;
  const auto count = static_cast<double>(out.windows);
  out.touched /= count;
  const double per_row = entries / (count * rows);
  out.uniform = cost::expected_experts(log.experts, per_row, rows);
  out.fitted = fitted_experts(per_row, rows, out.touched);
  return out;
}

}  // namespace foretell::moe
