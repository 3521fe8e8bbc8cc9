// One operator of a forward pass on a roofline (Williams et al. 2009): what it computes and moves, and what bounds it.
//
// Contract: plain values. Work is that of one layer; `layers` says how many layers have the operator. Bytes are those
// between the device's memory and its cores; what a fused kernel keeps on the chip is not there. An operator takes as
// long as the slower of the two roofs, and the time of a forward pass is the sum over its operators: nothing overlaps.
#pragma once

#include <string>
#include <vector>

#include "framework/cost/operators/hardware.h"

namespace foretell::cost::operators {

// Bits of a number, as LLM-Viewer's w_bit, a_bit and kv_bit.
struct Precision {
  int weights = 16, activations = 16, cache = 16;
};
// An Error for what nobody stores: known are 32, 16, 8 and 4 bits.
void check_precision(const Precision& precision);

struct OperatorWork {
  std::string name;
  double operations = 0;
  double load_weight = 0, load_act = 0, store_act = 0, load_kv_cache = 0, store_kv_cache = 0;  // bytes
  double stored_weight = 0;  // bytes that the operator's weights take in memory; of experts all
  int bits = 16;             // of the wider factor of its products
  int layers = 1;

  double memory_access() const { return load_weight + load_act + store_act + load_kv_cache + store_kv_cache; }
};

enum class Bound { Memory, Compute };
const char* name_of(Bound bound);

struct OperatorCost {
  OperatorWork work;
  double intensity = 0;    // [operations / byte]
  double performance = 0;  // [operations / s] attainable
  Bound bound = Bound::Memory;
  double seconds = 0;  // in one layer
};

// All operators of a forward pass, and their sums over all layers.
struct ForwardOperators {
  std::vector<OperatorCost> operators;
  OperatorWork total = {.name = "total"};
  double seconds = 0;
  double activation_bytes = 0, weight_bytes = 0, cache_bytes = 0;  // that have to be in memory
  double memory() const { return activation_bytes + weight_bytes + cache_bytes; }
};

struct Roofs {
  double bandwidth = 0, launch = 0;
};

OperatorCost on_roofline(OperatorWork work, double peak, const Roofs& roofs);
// The sums; memory is left to the caller, whose rules it follows.
ForwardOperators summed(std::vector<OperatorCost> operators);

}  // namespace foretell::cost::operators
