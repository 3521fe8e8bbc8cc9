/// Which of a cell's models are inflated ones.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <optional>
#include <string>

namespace foretell::results {

// Which of a cell's models are small ones that were padded with zeros to a larger shape; what the numbers mean depends
// on it.
struct InflatedModels {
  std::optional<std::string> target = {}, draft = {};
  friend bool operator==(const InflatedModels&, const InflatedModels&) = default;
};

nlohmann::ordered_json to_json(const InflatedModels& inflated);  // null if there is none

}  // namespace foretell::results
