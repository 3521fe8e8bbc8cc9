// The metrics of efficiency that surveys report of a model (Ding et al. 2023, arXiv 2312.00678), predicted for a
// device.
//
// Contract: pure; by the rules of forward_operators.h. Energy is power times time, with a power that somebody states;
// it and emissions are absent without. MFU and MBU are those of a step: operations, and bytes of weights and KV cache,
// over what the device could do in its time.
#pragma once

#include <optional>

#include "framework/cost/operators/forward_operators.h"

namespace foretell::cost::operators {

struct EfficiencyCase {
  Precision precision = {};
  double batch = 1;
  int prompt = 512, output = 128;  // tokens
  bool fused = false;
  std::optional<double> watts = {};  // under load; without it the device's own
  double pue = 1;
  std::optional<double> kg_per_kwh = {};
};

struct Efficiency {
  double parameters = 0, active_parameters = 0;
  double weight_bytes = 0, cache_bytes_per_token = 0;  // of one sequence
  double peak_bytes = 0;                               // weights, KV cache and activations at the end of the answer
  double operations_per_token = 0;                     // of a step in the middle of the answer
  double first_token = 0, per_token = 0, answer = 0;   // seconds: prefill, a step in the middle, all
  double tokens_per_second = 0;                        // generated, all sequences together, prefill included
  double mfu = 0, mbu = 0;
  std::optional<double> joules_per_token = {}, grams_per_kilotoken = {};
};

Efficiency efficiency_of(const formats::ModelConfig& model, const Hardware& hardware, const EfficiencyCase& of);

}  // namespace foretell::cost::operators
