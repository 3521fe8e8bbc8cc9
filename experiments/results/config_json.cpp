#include "experiments/results/config_json.h"

#include <nlohmann/json.hpp>

namespace foretell::results {
namespace {

nlohmann::ordered_json scalar_json(const ConfigValue& value) {
  if (value.quoted()) return value.text();
  const auto parsed = nlohmann::ordered_json::parse(value.text(), nullptr, false);
  return parsed.is_number() || parsed.is_boolean() ? parsed : nlohmann::ordered_json(value.text());
}

}  // namespace

nlohmann::ordered_json settings_json(const ConfigValue& value) {
  switch (value.kind()) {
    case ConfigValue::Kind::Null: return nullptr;
    case ConfigValue::Kind::Scalar: return scalar_json(value);
    case ConfigValue::Kind::List: {
      auto list = nlohmann::ordered_json::array();
      for (const ConfigValue& item : value.items()) list.push_back(settings_json(item));
      return list;
    }
    case ConfigValue::Kind::Map: break;
  }
  auto map = nlohmann::ordered_json::object();
  for (const auto& entry : value.entries()) map[entry.key] = settings_json(entry.value);
  return map;
}

}  // namespace foretell::results
