#include "framework/text/json_reader.h"

#include <nlohmann/json.hpp>

namespace foretell {
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

const char* with_article(const nlohmann::json& value) {
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

}  // namespace

nlohmann::json parse_json(std::string_view bytes, const Location& where) {
  check_depth(bytes, where);
  try {
    return nlohmann::json::parse(bytes.begin(), bytes.end());
  } catch (const nlohmann::json::exception& error) {
    std::string message(plain_message(error.what()));
    for (char& c : message)
      if (static_cast<unsigned char>(c) < 0x20) c = ' ';  // an error is one line, whatever the file quoted in it holds
    if (message.size() > 300) message = message.substr(0, 300) + "...";
    fail_at(where, "not JSON: {}", message);
  }
}

std::optional<JsonView> JsonView::find(std::string_view key) const {
  if (!value_->is_object()) expected("an object");
  const auto found = value_->find(key);
  if (found == value_->end() || found->is_null()) return std::nullopt;
  return JsonView(*found, fmt::format("{}/{}", path_, key), *where_);
}

JsonView JsonView::at(std::string_view key) const {
  if (auto found = find(key)) return *found;
  refuse(fmt::format("key '{}' is missing", key));
}

JsonView JsonView::at(std::size_t index) const {
  if (index >= size()) refuse(fmt::format("expected more than {} entries, found {}", index, size()));
  return JsonView((*value_)[index], fmt::format("{}/{}", path_, index), *where_);
}

std::size_t JsonView::size() const {
  if (!value_->is_array()) expected("an array");
  return value_->size();
}

const std::string& JsonView::string() const {
  if (!value_->is_string()) expected("a string");
  return value_->get_ref<const std::string&>();
}

bool JsonView::boolean() const {
  if (!value_->is_boolean()) expected("true or false");
  return value_->get<bool>();
}

std::int64_t JsonView::integer() const {
  if (!value_->is_number_integer()) expected("an integer");
  if (value_->is_number_unsigned() && value_->get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX))
    expected("an integer below 2^63");
  return value_->get<std::int64_t>();
}

double JsonView::number() const {
  if (!value_->is_number()) expected("a number");
  return value_->get<double>();
}

std::string JsonView::string_or(std::string_view key, std::string fallback) const {
  const auto found = find(key);
  return found ? found->string() : std::move(fallback);
}

bool JsonView::boolean_or(std::string_view key, bool fallback) const {
  const auto found = find(key);
  return found ? found->boolean() : fallback;
}

std::int64_t JsonView::integer_or(std::string_view key, std::int64_t fallback) const {
  const auto found = find(key);
  return found ? found->integer() : fallback;
}

void JsonView::expected(std::string_view what) const { refuse(fmt::format("expected {}, found {}", what, with_article(*value_))); }

void JsonView::refuse(std::string_view message) const { fail_at(*where_, "{}{}{}", path_, path_.empty() ? "" : ": ", message); }

}  // namespace foretell
