// Trained files that exit policies read: which tensor is what.
//
// exit_probe.safetensors, of `classifier`:
//   shared.weight [hidden], shared.bias [1]          one probe for all layers, or
//   layers.N.weight [hidden], layers.N.bias [1]      one behind N layers: sigmoid(w u + b), u the hidden state divided
//                                                    by its root mean square
// exit_predictor.safetensors, of `specee`, of k candidate tokens:
//   layers.N.up.weight [inner, 3k], layers.N.up.bias [inner], layers.N.down.weight [inner], layers.N.down.bias [1]:
//                                                    sigmoid(down relu(up f + b) + c), f the features (specee.cpp)
//
// Contract: every tensor of a file has its place and shape, else an Error of one line that names both. Numbers are F32,
// F16, BF16 or F64 and finite. Includes no LibTorch.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "framework/formats/safetensors.h"

namespace foretell::exits {

struct LinearProbe {
  std::vector<float> weight = {};
  float bias = 0;
  double operator()(const std::vector<float>& input) const;  // a logit
};

struct ProbeFile {
  std::optional<LinearProbe> shared = {};    // else
  std::map<int, LinearProbe> by_layer = {};  // behind so many layers
  int width() const { return static_cast<int>((shared ? *shared : by_layer.begin()->second).weight.size()); }
};
ProbeFile parse_probes(const formats::StoredTensors& tensors, const std::string& name);
// A folder has it as exit_probe.safetensors.
ProbeFile load_probes(const std::filesystem::path& path);

struct Predictor {
  int features = 0, inner = 0;
  std::vector<float> up = {}, up_bias = {}, down = {};
  float down_bias = 0;
  double operator()(const std::vector<double>& input) const;  // a logit
};

using PredictorFile = std::map<int, Predictor>;  // behind so many layers; all of as many features
PredictorFile parse_predictors(const formats::StoredTensors& tensors, const std::string& name);
// A folder has it as exit_predictor.safetensors.
PredictorFile load_predictors(const std::filesystem::path& path);

// What a policy that reads hidden states says of them, so that a file of another width is found before anything runs.
class ReadsStates {
 public:
  virtual ~ReadsStates() = default;
  virtual int state_width() const = 0;  // 0: any
};

}  // namespace foretell::exits
