#include "framework/io/json.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "framework/core/text.h"

namespace foretell::io {
namespace {

using nlohmann::json;

// Watches a parse: bounds the depth and finds keys that are given twice.
class Watcher {
 public:
  Watcher(const std::string& name, const JsonLimits& limits) : name_(name), limits_(limits) {}

  bool operator()(int depth, json::parse_event_t event, json& parsed) {
    if (depth > limits_.depth) fail("{}: JSON nested deeper than {} levels", name_, limits_.depth);
    if (!limits_.unique_keys) return true;
    if (event == json::parse_event_t::object_start) keys_.emplace_back();
    if (event == json::parse_event_t::object_end) keys_.pop_back();
    if (event == json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys_.back().insert(key).second) fail("{}: the key '{}' is given twice", name_, key);
    }
    return true;
  }

 private:
  const std::string& name_;
  const JsonLimits& limits_;
  std::vector<std::set<std::string>> keys_;
};

// nlohmann's messages start with "[json.exception.parse_error.101] ".
std::string_view without_tag(std::string_view message) {
  const auto end = message.find("] ");
  return end == std::string_view::npos ? message : message.substr(end + 2);
}

}  // namespace

json parse_json(std::string_view text, const std::string& name, const JsonLimits& limits) {
  if (text.size() > limits.bytes)
    fail("{}: {} of JSON, at most {} are read", name, counted(text.size(), "byte"), limits.bytes);
  try {
    Watcher watcher(name, limits);
    return json::parse(text.begin(), text.end(), [&watcher](int depth, json::parse_event_t event, json& parsed) {
      return watcher(depth, event, parsed);
    });
  } catch (const json::exception& error) {
    fail("{}: not valid JSON: {}", name, shown(std::string(without_tag(error.what()))));
  }
}

std::string shown(const json& value) {
  constexpr std::size_t kLongest = 200;
  std::string text =
      value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', true, json::error_handler_t::replace);
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

JsonObject::JsonObject(const json& object, std::string name, std::string prefix)
    : object_(&object), name_(std::move(name)), prefix_(std::move(prefix)) {
  if (!object.is_object()) fail("{}: a JSON object is expected, found {}", name_, object.type_name());
}

JsonObject JsonObject::with_aliases(std::span<const JsonAlias> aliases) const {
  JsonObject copy = *this;
  copy.aliases_ = aliases;
  return copy;
}

const char* JsonObject::spelled(const char* key) const {
  for (const JsonAlias& known : aliases_)
    if (std::string_view(known.key) == key && object_->contains(known.alias)) return known.alias;
  return key;
}

bool JsonObject::empty() const { return object_->empty(); }

const json* JsonObject::find(const char* key) const {
  const auto it = object_->find(spelled(key));
  return it == object_->end() || it->is_null() ? nullptr : &*it;
}

bool JsonObject::is_null(const char* key) const {
  const auto it = object_->find(spelled(key));
  return it != object_->end() && it->is_null();
}

std::optional<std::int64_t> JsonObject::integer(const char* key, std::int64_t low, std::int64_t high) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  const bool fits =
      value->is_number_integer() &&
      !(value->is_number_unsigned() && value->get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max()) &&
      value->get<std::int64_t>() >= low && value->get<std::int64_t>() <= high;
  if (!fits) refuse(key, "is {}, an integer from {} to {} is expected", shown(*value), low, high);
  return value->get<std::int64_t>();
}

std::optional<double> JsonObject::number(const char* key, double low, double high) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  const bool fits = value->is_number() && value->get<double>() >= low && value->get<double>() <= high;
  if (!fits) refuse(key, "is {}, a number from {} to {} is expected", shown(*value), low, high);
  return value->get<double>();
}

std::optional<bool> JsonObject::boolean(const char* key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) refuse(key, "is {}, true or false is expected", shown(*value));
  return value->get<bool>();
}

std::optional<std::string> JsonObject::string(const char* key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) refuse(key, "is {}, a string is expected", shown(*value));
  return value->get<std::string>();
}

std::optional<JsonObject> JsonObject::object(const char* key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) refuse(key, "is {}, an object is expected", shown(*value));
  return JsonObject(*value, name_, prefix_ + key + ".");
}

}  // namespace foretell::io
