// What a prompt and a step of a model should cost on a device, operator by operator: what `foretell roofline` prints.
//
// Contract: pure but for load_described_model(). Two stages: a prefill of `tokens` in each sequence, and a forward pass
// behind `tokens` cached ones. JSON has LLM-Viewer's field names; its `ops` are those of one layer, and `layers` says
// how many have them.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "framework/cost/operators/forward_operators.h"
#include "framework/cost/operators/llm_viewer.h"

namespace foretell::analysis {

// Of a model's folder, or of a config.json by itself.
formats::ModelConfig load_described_model(const std::filesystem::path& folder_or_config);

struct RooflineOptions {
  bool llm_viewer = false;  // whose rules
  cost::operators::LlmViewerQuirks quirks = {};
  cost::operators::Precision precision = {};
  int batch = 1, tokens = 1024;
  bool fused = false;
  // Of Foretell's rules alone.
  int rows = 1;                // new tokens of each sequence in a step
  std::vector<int> tree = {};  // or nodes by depth
  bool expanded_cache = false;
  std::optional<int> exit_layer = {};
  // A whole answer, where it is asked for.
  std::optional<int> prompt = {}, output = {};
};

struct Roofline {
  cost::operators::ForwardOperators prefill, decode;
  std::optional<double> generation_seconds = {};
};

Roofline roofline_of(const formats::ModelConfig& model, const cost::operators::Hardware& hardware,
                     const RooflineOptions& options);
nlohmann::ordered_json to_json(const Roofline& roofline);
// Two tables of operators and one of memory.
std::string to_text(const Roofline& roofline, const cost::operators::Hardware& hardware,
                    const RooflineOptions& options);

// "13.8T", "512", "1.50": three digits and the prefix of a thousand.
std::string short_number(double value);
// "102 ms", "43.7 us".
std::string short_seconds(double seconds);

}  // namespace foretell::analysis
