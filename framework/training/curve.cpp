#include "framework/training/curve.h"

#include <fmt/format.h>

#include <algorithm>

namespace foretell::training {

std::string curve_csv(const Curve& curve) {
  std::vector<std::string> names;
  for (const CurvePoint& point : curve)
    for (const auto& [name, value] : point.values)
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  std::string csv = "step";
  for (const std::string& name : names) csv += "," + name;
  for (const CurvePoint& point : curve) {
    csv += fmt::format("\n{}", point.step);
    for (const std::string& name : names) {
      const auto value = std::find_if(point.values.begin(), point.values.end(),
                                      [&](const auto& entry) { return entry.first == name; });
      csv += value == point.values.end() ? "," : fmt::format(",{}", value->second);
    }
  }
  return csv + "\n";
}

}  // namespace foretell::training
