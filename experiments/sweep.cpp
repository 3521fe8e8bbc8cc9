#include "experiments/sweep.h"

#include <algorithm>

#include "experiments/study.h"

namespace foretell {
namespace {

constexpr std::size_t kMaxCells = 10'000;

struct Axis {
  std::string path;
  std::vector<ConfigValue> values;
};

bool overridden(const std::string& path, const std::vector<std::string>& overrides) {
  return std::any_of(overrides.begin(), overrides.end(), [&](const std::string& o) { return full_path(o.substr(0, o.find('='))) == path; });
}

std::vector<Axis> axes_of(const ConfigValue& sweep, const std::vector<std::string>& overrides) {
  if (!sweep.is_null() && !sweep.is_map()) fail_at(sweep.where(), "sweep: expected a mapping of dotted paths to lists of values");
  std::vector<Axis> axes;
  for (const auto& entry : sweep.entries()) {
    const Axis axis{full_path(entry.key), entry.value.items()};
    if (!entry.value.is_list() || axis.values.empty()) fail_at(entry.where, "sweep: '{}' needs a list of at least one value", entry.key);
    if (!overridden(axis.path, overrides)) axes.push_back(axis);
  }
  return axes;
}

std::string shown(const ConfigValue& value) { return value.is_scalar() ? value.text() : value.to_flow(); }

}  // namespace

std::string short_name(const std::string& key, const ConfigValue& value) {
  if (value.is_scalar())
    return key == "drafter" || key == "verifier" || key == "policy" || key == "tree" ? value.text() : key + "=" + value.text();
  const ConfigValue* type = value.find("type");
  if (!type || !type->is_scalar()) return key + "=" + value.to_flow();
  std::string name = type->text();
  for (const auto& entry : value.entries())
    if (entry.key != "type") name += " " + entry.key + "=" + shown(entry.value);
  return name;
}

ConfigValue SweepPoint::settings() const {
  std::vector<ConfigValue::Entry> entries;
  for (const auto& [path, value] : values) entries.push_back({path, value, value.where()});
  return ConfigValue::map(std::move(entries));
}

std::string SweepPoint::name() const {
  std::string name;
  for (const auto& [path, value] : values) {
    const std::size_t dot = path.rfind('.');
    name += (name.empty() ? "" : ", ") + short_name(dot == std::string::npos ? path : path.substr(dot + 1), value);
  }
  return name;
}

std::vector<SweepPoint> expand_sweep(const ConfigValue& sweep, const std::vector<std::string>& overrides) {
  std::vector<SweepPoint> points(1);
  for (const Axis& axis : axes_of(sweep, overrides)) {
    if (points.size() * axis.values.size() > kMaxCells) fail_at(sweep.where(), "sweep: more than {} cells", kMaxCells);
    std::vector<SweepPoint> longer;
    for (const SweepPoint& point : points) {
      for (const ConfigValue& value : axis.values) {
        longer.push_back(point);
        longer.back().values.emplace_back(axis.path, value);
      }
    }
    points = std::move(longer);
  }
  return points;
}

}  // namespace foretell
