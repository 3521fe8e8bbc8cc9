#include "framework/io/json_reader.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace foretell::io {
namespace {

// The parser itself does not recurse, but what users of the document do with it may.
void check_depth(std::string_view bytes, const Location& where) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const char c = bytes[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxJsonDepth) fail_at(where, "nesting at byte {} is deeper than {} levels", i, kMaxJsonDepth);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
}

// Files of many rows are read through views, so this is no fmt::format.
std::string below(const std::string& path, std::string_view key) {
  std::string out;
  out.reserve(path.size() + 1 + key.size());
  return out.append(path).append(1, '/').append(key);
}

template <class Json>
const char* with_article(const Json& value) {
  switch (value.type()) {
    case nlohmann::json::value_t::null: return "null";
    case nlohmann::json::value_t::object: return "an object";
    case nlohmann::json::value_t::array: return "an array";
    case nlohmann::json::value_t::string: return "a string";
    case nlohmann::json::value_t::boolean: return "a boolean";
    case nlohmann::json::value_t::number_float: return "a number with a fraction";
    default: return "a number";
  }
}

// The library's message without its own prefix ("[json.exception.parse_error.101] ").
std::string_view plain_message(std::string_view what) {
  const std::size_t end = what.find("] ");
  return end == std::string_view::npos ? what : what.substr(end + 2);
}

template <class Json>
Json parsed(std::string_view bytes, const Location& where) {
  check_depth(bytes, where);
  try {
    return Json::parse(bytes.begin(), bytes.end());
  } catch (const nlohmann::json::exception& error) {
    std::string message(plain_message(error.what()));
    for (char& c : message)
      if (static_cast<unsigned char>(c) < 0x20) c = ' ';  // an error is one line, whatever the file quoted in it holds
    if (message.size() > 300) message = message.substr(0, 300) + "...";
    fail_at(where, "not JSON: {}", message);
  }
}

}  // namespace

nlohmann::json parse_json(std::string_view bytes, const Location& where) {
  return parsed<nlohmann::json>(bytes, where);
}

nlohmann::ordered_json parse_ordered_json(std::string_view bytes, const Location& where) {
  return parsed<nlohmann::ordered_json>(bytes, where);
}

template <class Json>
std::optional<BasicJsonView<Json>> BasicJsonView<Json>::find(std::string_view key) const {
  if (!value_->is_object()) expected("an object");
  const auto found = value_->find(key);
  if (found == value_->end() || found->is_null()) return std::nullopt;
  return BasicJsonView(*found, below(path_, key), *where_);
}

template <class Json>
BasicJsonView<Json> BasicJsonView<Json>::at(std::string_view key) const {
  if (auto found = find(key)) return *found;
  refuse(fmt::format("key '{}' is missing", key));
}

template <class Json>
BasicJsonView<Json> BasicJsonView<Json>::at(std::size_t index) const {
  if (index >= size()) refuse(fmt::format("expected more than {} entries, found {}", index, size()));
  return BasicJsonView((*value_)[index], below(path_, std::to_string(index)), *where_);
}

template <class Json>
std::size_t BasicJsonView<Json>::size() const {
  if (!value_->is_array()) expected("an array");
  return value_->size();
}

template <class Json>
std::vector<std::pair<std::string, BasicJsonView<Json>>> BasicJsonView<Json>::entries() const {
  if (!value_->is_object()) expected("an object");
  std::vector<std::pair<std::string, BasicJsonView>> out;
  out.reserve(value_->size());
  for (const auto& [key, value] : value_->items())
    out.emplace_back(key, BasicJsonView(value, below(path_, key), *where_));
  return out;
}

template <class Json>
const std::string& BasicJsonView<Json>::string() const {
  if (!value_->is_string()) expected("a string");
  return value_->template get_ref<const std::string&>();
}

template <class Json>
std::string BasicJsonView<Json>::id() const {
  return value_->is_string() ? string() : std::to_string(integer());
}

template <class Json>
bool BasicJsonView<Json>::boolean() const {
  if (!value_->is_boolean()) expected("true or false");
  return value_->template get<bool>();
}

template <class Json>
std::int64_t BasicJsonView<Json>::integer() const {
  if (!value_->is_number_integer()) expected("an integer");
  if (value_->is_number_unsigned() && value_->template get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX))
    expected("an integer below 2^63");
  return value_->template get<std::int64_t>();
}

template <class Json>
std::int64_t BasicJsonView<Json>::integer(std::int64_t low, std::int64_t high) const {
  const std::int64_t value = integer();
  if (value < low || value > high) refuse(fmt::format("expected an integer from {} to {}, found {}", low, high, value));
  return value;
}

template <class Json>
double BasicJsonView<Json>::number() const {
  if (!value_->is_number()) expected("a number");
  return value_->template get<double>();
}

template <class Json>
double BasicJsonView<Json>::number(double low, double high) const {
  const double value = number();
  if (!(value >= low && value <= high))
    refuse(fmt::format("expected a number from {} to {}, found {}", low, high, value));
  return value;
}

template <class Json>
std::string BasicJsonView<Json>::string_or(std::string_view key, std::string fallback) const {
  const auto found = find(key);
  return found ? found->string() : std::move(fallback);
}

template <class Json>
bool BasicJsonView<Json>::boolean_or(std::string_view key, bool fallback) const {
  const auto found = find(key);
  return found ? found->boolean() : fallback;
}

template <class Json>
std::int64_t BasicJsonView<Json>::integer_or(std::string_view key, std::int64_t fallback) const {
  const auto found = find(key);
  return found ? found->integer() : fallback;
}

template <class Json>
void BasicJsonView<Json>::expected(std::string_view what) const {
  refuse(fmt::format("expected {}, found {}", what, with_article(*value_)));
}

template <class Json>
void BasicJsonView<Json>::refuse(std::string_view message) const {
  fail_at(*where_, "{}{}{}", path_, path_.empty() ? "" : ": ", message);
}

template class BasicJsonView<nlohmann::json>;
template class BasicJsonView<nlohmann::ordered_json>;

void for_each_json_line(std::string_view bytes, const std::string& name,
                        const std::function<void(const JsonView&)>& read) {
  if (bytes.starts_with("\xEF\xBB\xBF")) bytes.remove_prefix(3);
  int line_number = 0;
  while (!bytes.empty()) {
    const std::size_t end = std::min(bytes.find('\n'), bytes.size());
    const std::string_view line = bytes.substr(0, end);
    bytes.remove_prefix(std::min(end + 1, bytes.size()));
    const Location where{name, ++line_number};
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const nlohmann::json document = parse_json(line, where);
    if (!document.is_object()) fail_at(where, "expected one JSON object on each line");
    read(JsonView(document, "", where));
  }
}

}  // namespace foretell::io
