#include "experiments/results/inflated_models.h"

#include <nlohmann/json.hpp>

namespace foretell::results {

nlohmann::ordered_json to_json(const InflatedModels& inflated) {
  if (inflated == InflatedModels{}) return nullptr;
  auto out = nlohmann::ordered_json::object();
  if (inflated.target) out["target"] = *inflated.target;
  if (inflated.draft) out["draft"] = *inflated.draft;
  return out;
}

}  // namespace foretell::results
