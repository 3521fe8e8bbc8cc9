// Routing logs of other programs: which experts each token was sent to.
//
// The format is that of logging patches for vLLM: one JSON object a line, {"type": "meta", "model_id", "num_experts",
// "top_k", ..} and {"type": "route", "req_id", "token_idx", "layer", "topk_ids", "topk_weights"}. A meta line may be
// missing, and keys that are not named here are passed over.
//
// Contract: a line that cannot be used is an Error with file:line; at most kMostLogExperts experts, kMostLogLayers
// layers and kMostLogRows rows. Rows of a request and layer whose token_idx follow one another are a sequence. Long
// runs of one routing are what a server sends through its model before there are requests (profiling, graph capture):
// runs of at least `warm_up_run` rows are left out and counted, and the text does not go on across them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace foretell::moe {

inline constexpr int kMostLogExperts = 4096, kMostLogLayers = 1024, kMostLogRows = 1 << 24;

struct LoggedSequence {
  std::string request = {};
  int layer = 0;
  std::vector<std::vector<int>> rows = {};  // the experts of each token, the one of the highest weight first
};

struct RouterLog {
  std::string model = {};  // as the file names it; empty if it does not
  int experts = 0;         // of a layer: as the file says, or as is given, else the highest that occurs and one
  bool experts_known = false;
  std::int64_t warm_up = 0;  // rows that were left out
  std::vector<LoggedSequence> sequences = {};

  std::int64_t rows() const;
  std::vector<int> layers() const;  // that were logged, in order
};

struct RouterLogOptions {
  std::optional<int> experts = {};  // in place of what the file says
  int warm_up_run = 32;             // 0: nothing is left out
};

RouterLog read_router_log(const std::filesystem::path& file, const RouterLogOptions& options = {});
RouterLog parse_router_log(std::string_view bytes, const std::string& name, const RouterLogOptions& options = {});

// What one layer's experts got.
struct LoggedLayer {
  std::vector<std::int64_t> load = {};                        // by expert, rows
  std::int64_t rows = 0, entries = 0, pairs = 0, shared = 0;  // pairs: entries of rows with a row before them
  double experts_per_row() const { return rows > 0 ? static_cast<double>(entries) / static_cast<double>(rows) : 0; }
  std::optional<double> neighbour_share() const;
};
LoggedLayer logged_layer(const RouterLog& log, int layer);

// Distinct experts of so many tokens that follow one another, over windows that do not overlap.
struct WindowUnion {
  int rows = 1;
  std::int64_t windows = 0;
  double touched = 0, uniform = 0;    // means; what uniform routing of as many entries would touch
  std::optional<double> fitted = {};  // experts with which uniform routing would touch as many
};
// None where no sequence is so long.
std::optional<WindowUnion> window_union(const RouterLog& log, int layer, int rows);

}  // namespace foretell::moe
