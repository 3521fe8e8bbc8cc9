#include "framework/cost/operators/operator_cost.h"

#include <algorithm>

#include "framework/core/error.h"
#include "framework/core/text.h"

namespace foretell::cost::operators {
namespace {

void check_bits(const char* what, int bits) {
  if (bits != 32 && bits != 16 && bits != 8 && bits != 4)
    fail("{} of {}; known: 32, 16, 8, 4", what, counted(bits, "bit"));
}

void add(const OperatorWork& work, OperatorWork& total) {
  total.operations += work.layers * work.operations;
  total.load_weight += work.layers * work.load_weight;
  total.load_act += work.layers * work.load_act;
  total.store_act += work.layers * work.store_act;
  total.load_kv_cache += work.layers * work.load_kv_cache;
  total.store_kv_cache += work.layers * work.store_kv_cache;
  total.stored_weight += work.layers * work.stored_weight;
}

}  // namespace

void check_precision(const Precision& precision) {
  check_bits("weights", precision.weights);
  check_bits("activations", precision.activations);
  check_bits("a KV cache", precision.cache);
}

const char* name_of(Bound bound) { return bound == Bound::Memory ? "memory" : "compute"; }

OperatorCost on_roofline(OperatorWork work, double peak, const Roofs& roofs) {
  const double bytes = work.memory_access();
  FORETELL_CHECK(bytes > 0 && peak > 0 && roofs.bandwidth > 0, "{}: {} bytes, peak {}", work.name, bytes, peak);
  OperatorCost cost;
  cost.intensity = work.operations / bytes;
  cost.bound = cost.intensity < peak / roofs.bandwidth ? Bound::Memory : Bound::Compute;
  cost.performance = cost.bound == Bound::Memory ? cost.intensity * roofs.bandwidth : peak;
  cost.seconds = std::max(work.operations / peak, bytes / roofs.bandwidth) + roofs.launch;
  cost.work = std::move(work);
  return cost;
}

ForwardOperators summed(std::vector<OperatorCost> operators) {
  ForwardOperators forward;
  for (const OperatorCost& cost : operators) {
    add(cost.work, forward.total);
    forward.seconds += cost.work.layers * cost.seconds;
  }
  forward.operators = std::move(operators);
  return forward;
}

}  // namespace foretell::cost::operators
