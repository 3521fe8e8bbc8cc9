#include "experiments/study/sweep.h"

#include <algorithm>
#include <array>

#include "experiments/study/study.h"
#include "framework/core/text.h"

namespace foretell::study {
namespace {

constexpr std::size_t kMaxCells = 10'000;

constexpr std::array<std::string_view, 4> kForms = {"grid", "zip", "one_at_a_time", "cells"};

using Points = std::vector<SweepPoint>;

// A path and the values that it takes.
struct Axis {
  std::string path;
  std::vector<ConfigValue> values;
  Location where;
};

class Expansion {
 public:
  explicit Expansion(const std::vector<std::string>& overrides) {
    for (const std::string& o : overrides) overridden_.push_back(full_path(o.substr(0, o.find('='))));
  }

  Points of(const ConfigValue& sweep) const {
    if (sweep.is_null()) return Points(1);
    if (!sweep.is_list()) return of_mapping(sweep);
    Points all;
    for (const ConfigValue& part : sweep.items()) {
      for (SweepPoint& point : of_mapping(part)) all.push_back(std::move(point));
      check_count(all.size(), part.where());
    }
    if (all.empty()) fail_at(sweep.where(), "sweep: the list is empty");
    return all;
  }

 private:
  Points of_mapping(const ConfigValue& sweep) const {
    if (!sweep.is_map()) fail_at(sweep.where(), "sweep: expected a mapping of dotted paths to lists of values");
    const auto is_form = [](const auto& entry) {
      return std::find(kForms.begin(), kForms.end(), entry.key) != kForms.end();
    };
    if (std::none_of(sweep.entries().begin(), sweep.entries().end(), is_form)) return grid(sweep);
    Points points(1);
    for (const auto& entry : sweep.entries()) {
      if (!is_form(entry))
        fail_at(entry.where,
                "sweep: '{}' stands beside forms of a sweep; paths go below grid, zip, one_at_a_time or cells",
                entry.key);
      points = product(points, form(entry.key, entry.value), sweep.where());
    }
    return points;
  }

  Points form(const std::string& name, const ConfigValue& value) const {
    if (name == "grid") return grid(value);
    if (name == "zip") return zip(value);
    return name == "cells" ? cells(value) : one_at_a_time(value);
  }

  Points grid(const ConfigValue& value) const {
    Points points(1);
    for (const Axis& axis : axes_of(value)) {
      check_count(axis.values.size(), axis.where);
      points = product(points, alone(axis), value.where());
    }
    return points;
  }

  Points zip(const ConfigValue& value) const {
    const std::vector<Axis> axes = axes_of(value);
    if (axes.empty()) return Points(1);
    check_count(axes.front().values.size(), value.where());
    Points points(axes.front().values.size());
    for (const Axis& axis : axes) {
      if (axis.values.size() != points.size())
        fail_at(axis.where, "sweep: zip: '{}' has {} and '{}' has {}: each needs the same number", axis.path,
                counted(axis.values.size(), "value"), axes.front().path, points.size());
      for (std::size_t i = 0; i < points.size(); ++i) points[i].values.emplace_back(axis.path, axis.values[i]);
    }
    return points;
  }

  Points one_at_a_time(const ConfigValue& value) const {
    Points points(1);
    for (const Axis& axis : axes_of(value)) {
      check_count(points.size() + axis.values.size(), axis.where);
      for (SweepPoint& point : alone(axis)) {
        point.may_repeat = true;
        points.push_back(std::move(point));
      }
    }
    return points;
  }

  Points cells(const ConfigValue& value) const {
    if (!value.is_list() || value.items().empty())
      fail_at(value.where(), "sweep: cells: expected a list of mappings of dotted paths to values");
    check_count(value.items().size(), value.where());
    Points points;
    for (const ConfigValue& cell : value.items()) {
      if (!cell.is_map()) fail_at(cell.where(), "sweep: cells: expected a mapping of dotted paths to values");
      points.emplace_back();
      for (const auto& entry : cell.entries())
        if (!overridden(full_path(entry.key))) points.back().values.emplace_back(full_path(entry.key), entry.value);
    }
    return points;
  }

  static Points alone(const Axis& axis) {
    Points points;
    points.reserve(axis.values.size());
    for (const ConfigValue& value : axis.values) points.push_back({{{axis.path, value}}});
    return points;
  }

  static void check_count(std::size_t cells, const Location& where) {
    if (cells > kMaxCells) fail_at(where, "sweep: {}; at most {} are taken", counted(cells, "cell"), kMaxCells);
  }

  static Points product(const Points& slow, const Points& fast, const Location& where) {
    check_count(slow.size() * fast.size(), where);
    Points out;
    out.reserve(slow.size() * fast.size());
    for (const SweepPoint& a : slow) {
      for (const SweepPoint& b : fast) {
        out.push_back(a);
        out.back().values.insert(out.back().values.end(), b.values.begin(), b.values.end());
        out.back().may_repeat |= b.may_repeat;
      }
    }
    return out;
  }

  bool overridden(const std::string& path) const {
    return std::find(overridden_.begin(), overridden_.end(), path) != overridden_.end();
  }

  std::vector<Axis> axes_of(const ConfigValue& value) const {
    if (!value.is_map()) fail_at(value.where(), "sweep: expected a mapping of dotted paths to lists of values");
    std::vector<Axis> axes;
    for (const auto& entry : value.entries()) {
      if (!entry.value.is_list() || entry.value.items().empty())
        fail_at(entry.where, "sweep: '{}' needs a list of at least one value", entry.key);
      Axis axis{full_path(entry.key), entry.value.items(), entry.where};
      if (!overridden(axis.path)) axes.push_back(std::move(axis));
    }
    return axes;
  }

  std::vector<std::string> overridden_;  // full paths
};

// The last key of a path; of an item of a list from the list on, "policies.0.threshold": items share their keys.
std::string shown_key(const std::string& path) {
  const auto is_item = [](std::string_view step) {
    return !step.empty() && std::all_of(step.begin(), step.end(), [](char c) { return c >= '0' && c <= '9'; });
  };
  std::size_t last = 0;  // where the step before the one at `at` begins
  for (std::size_t at = 0, dot = 0; dot != std::string::npos; at = dot + 1) {
    dot = path.find('.', at);
    if (at > 0 && is_item(std::string_view(path).substr(at, dot - at))) return path.substr(last);
    last = at;
  }
  return path.substr(last);
}

std::string shown(const ConfigValue& value) { return value.is_scalar() ? value.text() : value.to_flow(); }

}  // namespace

std::string short_name(const std::string& key, const ConfigValue& value) {
  if (value.is_scalar())
    return key == "drafter" || key == "verifier" || key == "policy" || key == "tree" ? value.text()
                                                                                     : key + "=" + value.text();
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
  for (const auto& [path, value] : values) name += (name.empty() ? "" : ", ") + short_name(shown_key(path), value);
  return name;
}

std::vector<SweepPoint> expand_sweep(const ConfigValue& sweep, const std::vector<std::string>& overrides) {
  return Expansion(overrides).of(sweep);
}

}  // namespace foretell::study
