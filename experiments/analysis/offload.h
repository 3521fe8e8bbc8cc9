// What routing that was recorded says of a mixture's experts: their load, how many tokens touch together, and what a
// memory with room for some of them would have to read.
//
// Contract: computed from a routing log of another program (framework/moe/router_log.h) or from the records of a study,
// whose rounds say which experts a verified draft used. Nothing is run. Bytes and times are there where the size of an
// expert and the bandwidth that it is read with were given: they are the model "what a step waits for has to be read
// first", with nothing else beside it.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "experiments/results/record.h"
#include "framework/moe/expert_cache.h"
#include "framework/moe/router_log.h"

namespace foretell::analysis {

struct OffloadQuestion {
  std::vector<int> rooms = {};           // experts of each layer that memory holds; empty: an eighth, a quarter, half
  std::vector<int> rows = {1, 2, 4, 8};  // tokens of a step; of a log alone
  int prefetch = 0;                      // experts of each token, the best ones, that the draft names; of a log alone
  std::optional<double> expert_bytes = {}, bandwidth = {};  // [bytes], [bytes / s]
};

struct OffloadRow {
  int rows = 0;  // of a step; 0: as they were
  int room = 0;
  double tokens = 0;                                  // that the steps emitted, or of a log stepped over
  moe::CacheCount lru = {}, belady = {}, ahead = {};  // of all layers; ahead: lru with prefetch
};

struct LoggedUnion {
  int layer = 0;
  moe::WindowUnion of = {};
};

std::vector<LoggedUnion> logged_unions(const moe::RouterLog& log, std::span<const int> rows);
std::vector<OffloadRow> offload_of(const moe::RouterLog& log, const OffloadQuestion& question);
// Of the method's first repeats. An Error where no round has experts.
std::vector<OffloadRow> offload_of(std::span<const results::GenerationRecord> records, const OffloadQuestion& question);

std::string offload_table(std::span<const OffloadRow> rows, const OffloadQuestion& question);
nlohmann::ordered_json offload_json(std::span<const OffloadRow> rows, const OffloadQuestion& question);

// A log's load and locality by layer.
std::string router_log_table(const moe::RouterLog& log);
nlohmann::ordered_json router_log_json(const moe::RouterLog& log);

}  // namespace foretell::analysis
