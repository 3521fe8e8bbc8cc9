#include "framework/core/parameters.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "framework/core/printable.h"

namespace foretell {
namespace {

std::string found(const ConfigValue& value) {
  switch (value.kind()) {
    case ConfigValue::Kind::Null: return "nothing";
    case ConfigValue::Kind::Scalar: return fmt::format("'{}'", excerpt(value.text()));
    case ConfigValue::Kind::List: return "a list";
    case ConfigValue::Kind::Map: return "a mapping";
  }
  return "";
}

[[noreturn]] void expected(const ConfigValue& value, std::string_view key, std::string_view what) {
  fail_at(value.where(), "{}: expected {}, found {}", key, what, found(value));
}

template <class T>
std::optional<T> parse_whole(const std::string& text) {
  T out{};
  const char* begin = text.data();
  const char* end = begin + text.size();
  if (begin != end && *begin == '+') ++begin;
  const auto [stop, code] = std::from_chars(begin, end, out);
  if (code != std::errc{} || stop != end || begin == end) return std::nullopt;
  return out;
}

void check_range(const ConfigValue& value, std::string_view key, double number, const Limits& limits) {
  const bool low = limits.min && number < *limits.min, high = limits.max && number > *limits.max;
  if (!low && !high) return;
  const std::string allowed = limits.min && limits.max ? fmt::format("from {} to {}", *limits.min, *limits.max)
                              : limits.min             ? fmt::format("of at least {}", *limits.min)
                                                       : fmt::format("of at most {}", *limits.max);
  fail_at(value.where(), "{}: expected a value {}, found {}", key, allowed, excerpt(value.text()));
}

void read_value(const ConfigValue& value, std::string_view key, bool& out, const Limits&) {
  out = read_bool(value, key);
}
void read_value(const ConfigValue& value, std::string_view key, std::int64_t& out, const Limits& limits) {
  out = read_int(value, key);
  check_range(value, key, static_cast<double>(out), limits);
}
void read_value(const ConfigValue& value, std::string_view key, int& out, const Limits& limits) {
  std::int64_t wide = 0;
  read_value(value, key, wide, limits);
  if (wide < std::numeric_limits<int>::min() || wide > std::numeric_limits<int>::max())
    expected(value, key, "a 32-bit integer");
  out = static_cast<int>(wide);
}
void read_value(const ConfigValue& value, std::string_view key, double& out, const Limits& limits) {
  out = read_number(value, key);
  if (!std::isfinite(out)) expected(value, key, "a finite number");
  check_range(value, key, out, limits);
}
void read_value(const ConfigValue& value, std::string_view key, std::string& out, const Limits& limits) {
  out = read_text(value, key);
  if (!limits.choices.empty() && std::find(limits.choices.begin(), limits.choices.end(), out) == limits.choices.end())
    throw Error(value.where(), unknown_name_message(key, out, limits.choices));
}

std::string show(bool value) { return value ? "true" : "false"; }
std::string show(const std::string& value) { return value; }
template <class T>
std::string show(const T& value) {
  return fmt::format("{}", value);
}

}  // namespace

bool read_bool(const ConfigValue& value, std::string_view key) {
  if (value.is_scalar() && !value.quoted()) {
    if (value.text() == "true" || value.text() == "True") return true;
    if (value.text() == "false" || value.text() == "False") return false;
  }
  expected(value, key, "true or false");
}

std::int64_t read_int(const ConfigValue& value, std::string_view key) {
  if (value.is_scalar() && !value.quoted())
    if (const auto number = parse_whole<std::int64_t>(value.text())) return *number;
  expected(value, key, "an integer");
}

double read_number(const ConfigValue& value, std::string_view key) {
  if (value.is_scalar() && !value.quoted())
    if (const auto number = parse_whole<double>(value.text())) return *number;
  expected(value, key, "a number");
}

std::string read_text(const ConfigValue& value, std::string_view key) {
  if (!value.is_scalar()) expected(value, key, "text");
  return value.text();
}

Parameters::Parameters(const ConfigValue* values, std::string owner) : values_(values), owner_(std::move(owner)) {
  if (values_ && !values_->is_null() && !values_->is_map()) expected(*values_, owner_, "a mapping");
}

Location Parameters::where() const { return values_ ? values_->blamed() : Location{"defaults", {}}; }

void Parameters::finish() const {
  for (const auto& entry : values_->entries())
    if (std::find(known_.begin(), known_.end(), entry.key) == known_.end())
      throw Error(entry.where, unknown_name_message("key of " + owner_, entry.key, known_));
  if (missing_) throw Error(values_->where(), *missing_);
}

const ConfigValue* Parameters::declare(std::string_view name, std::string_view type, std::string default_value,
                                       std::string_view doc, const Limits& limits) {
  docs_.push_back({std::string(name), std::string(type), std::move(default_value), std::string(doc), limits.aliases});
  if (!limits.choices.empty()) docs_.back().type = fmt::format("{}", fmt::join(limits.choices, " | "));
  if (!values_) return nullptr;
  known_.emplace_back(name);
  const ConfigValue* value = values_->find(name);
  for (const std::string& alias : limits.aliases) {
    known_.push_back(alias);
    const ConfigValue* other = values_->find(alias);
    if (!other) continue;
    if (value) fail_at(other->where(), "'{}' and '{}' are the same key of {}; give one", name, alias, owner_);
    value = other;
  }
  if (!value && limits.required && !missing_) missing_ = fmt::format("{} needs the key '{}' ({})", owner_, name, doc);
  return value;
}

template <class T>
void Parameters::add_scalar(std::string_view name, T& field, std::string_view type, std::string_view doc,
                            const Limits& limits) {
  if (const ConfigValue* value = declare(name, type, limits.required ? "required" : show(field), doc, limits))
    read_value(*value, name, field, limits);
}

template <class T>
void Parameters::add_list(std::string_view name, std::vector<T>& field, std::string_view type, std::string_view doc,
                          const Limits& limits) {
  const ConfigValue* value = declare(name, type, fmt::format("[{}]", fmt::join(field, ", ")), doc, limits);
  if (!value) return;
  if (!value->is_list()) expected(*value, name, type);
  field.clear();
  for (const ConfigValue& item : value->items()) {
    T entry{};
    read_value(item, name, entry, limits);
    field.push_back(std::move(entry));
  }
}

template <class T>
void Parameters::add_optional(std::string_view name, std::optional<T>& field, std::string_view type,
                              std::string_view doc, const Limits& limits) {
  const ConfigValue* value = declare(name, type, field ? show(*field) : "none", doc, limits);
  if (!value) return;
  if (value->is_null()) {
    field.reset();
    return;
  }
  T entry{};
  read_value(*value, name, entry, limits);
  field = std::move(entry);
}

void Parameters::add(std::string_view n, bool& f, std::string_view d, const Limits& l) {
  add_scalar(n, f, "bool", d, l);
}
void Parameters::add(std::string_view n, int& f, std::string_view d, const Limits& l) { add_scalar(n, f, "int", d, l); }
void Parameters::add(std::string_view n, std::int64_t& f, std::string_view d, const Limits& l) {
  add_scalar(n, f, "int", d, l);
}
void Parameters::add(std::string_view n, double& f, std::string_view d, const Limits& l) {
  add_scalar(n, f, "number", d, l);
}
void Parameters::add(std::string_view n, std::string& f, std::string_view d, const Limits& l) {
  add_scalar(n, f, "text", d, l);
}
void Parameters::add(std::string_view n, std::vector<int>& f, std::string_view d, const Limits& l) {
  add_list(n, f, "list of int", d, l);
}
void Parameters::add(std::string_view n, std::vector<double>& f, std::string_view d, const Limits& l) {
  add_list(n, f, "list of numbers", d, l);
}
void Parameters::add(std::string_view n, std::vector<std::string>& f, std::string_view d, const Limits& l) {
  add_list(n, f, "list of text", d, l);
}
void Parameters::add(std::string_view n, std::optional<int>& f, std::string_view d, const Limits& l) {
  add_optional(n, f, "int", d, l);
}
void Parameters::add(std::string_view n, std::optional<double>& f, std::string_view d, const Limits& l) {
  add_optional(n, f, "number", d, l);
}
void Parameters::add(std::string_view n, std::optional<std::string>& f, std::string_view d, const Limits& l) {
  add_optional(n, f, "text", d, l);
}
void Parameters::add(std::string_view n, ConfigValue& f, std::string_view d, const Limits& l) {
  if (const ConfigValue* value = declare(n, "value", l.required ? "required" : f.to_flow(), d, l)) f = *value;
}

}  // namespace foretell
