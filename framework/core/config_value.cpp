#include "framework/core/config_value.h"

#include <fmt/ranges.h>
#include <utf8proc.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>
#include <sstream>

#include "framework/core/input_file.h"
#include "framework/core/text.h"

namespace foretell {
namespace {

constexpr int kMaxDepth = 64;
constexpr std::size_t kMaxNodes = 1'000'000;
constexpr std::size_t kMaxBytes = 64u << 20;

// The text of a scalar as UTF-8. The library reads the escapes "\N" and "\_" as the single bytes 0x85 and 0xa0; the
// document is UTF-8, so a byte that is none comes from them.
std::string utf8_of(const std::string& scalar) {
  std::string out;
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(scalar.data());
  const auto size = static_cast<std::ptrdiff_t>(scalar.size());
  for (std::ptrdiff_t at = 0; at < size;) {
    std::int32_t code = 0;
    const auto length = utf8proc_iterate(bytes + at, size - at, &code);
    if (length <= 0) out += '\xc2';  // U+0085 is c2 85, U+00A0 is c2 a0
    const auto taken = std::max<std::ptrdiff_t>(length, 1);
    out.append(scalar, static_cast<std::size_t>(at), static_cast<std::size_t>(taken));
    at += taken;
  }
  return out;
}

class Converter {
 public:
  explicit Converter(std::string name) : name_(std::move(name)) {}

  ConfigValue convert(const YAML::Node& node, int depth) {
    const Location where = locate(node);
    if (depth > kMaxDepth) fail_at(where, "nested deeper than {} levels", kMaxDepth);
    if (++nodes_ > kMaxNodes) fail_at(where, "more than {} values (aliases expanded)", kMaxNodes);
    switch (node.Type()) {
      case YAML::NodeType::Scalar: return ConfigValue::scalar(utf8_of(node.Scalar()), where, node.Tag() == "!");
      case YAML::NodeType::Sequence: {
        std::vector<ConfigValue> items;
        for (const auto& item : node) items.push_back(convert(item, depth + 1));
        return ConfigValue::list(std::move(items), where);
      }
      case YAML::NodeType::Map: return ConfigValue::map(entries(node, depth), where);
      default: return ConfigValue::null(where);  // written as ~, null or nothing
    }
  }

 private:
  Location locate(const YAML::Node& node) const {
    const YAML::Mark mark = node.Mark();
    return {name_, mark.is_null() ? 1 : mark.line + 1};  // a document of nothing has no mark
  }

  std::vector<ConfigValue::Entry> entries(const YAML::Node& node, int depth) {
    std::vector<ConfigValue::Entry> out;
    for (const auto& pair : node) {
      const Location where = locate(pair.first);
      if (!pair.first.IsScalar()) fail_at(where, "a key must be a plain word");
      const std::string key = utf8_of(pair.first.Scalar());
      for (const auto& earlier : out)
        if (earlier.key == key) fail_at(where, "key '{}' was given before, at {}", key, earlier.where.to_string());
      out.push_back({key, convert(pair.second, depth + 1), where});
    }
    return out;
  }

  std::string name_;
  std::size_t nodes_ = 0;
};

void emit(YAML::Emitter& out, const ConfigValue& value) {
  switch (value.kind()) {
    case ConfigValue::Kind::Null: out << YAML::Null; break;
    case ConfigValue::Kind::Scalar:
      if (value.quoted()) out << YAML::DoubleQuoted;
      out << value.text();
      break;
    case ConfigValue::Kind::List:
      out << YAML::Flow << YAML::BeginSeq;
      for (const auto& item : value.items()) emit(out, item);
      out << YAML::EndSeq;
      break;
    case ConfigValue::Kind::Map:
      out << YAML::BeginMap;
      for (const auto& entry : value.entries()) {
        out << YAML::Key << entry.key << YAML::Value;
        emit(out, entry.value);
      }
      out << YAML::EndMap;
      break;
  }
}

// What the command line has put into a value, each place once.
void add_overrides(const ConfigValue& value, std::vector<std::string>& out) {
  const std::string& place = value.where().file;
  if (place.starts_with("--") && std::find(out.begin(), out.end(), place) == out.end()) out.push_back(place);
  if (place.starts_with("--")) return;
  for (const ConfigValue& item : value.items()) add_overrides(item, out);
  for (const ConfigValue::Entry& entry : value.entries()) add_overrides(entry.value, out);
}

std::pair<std::string_view, std::string_view> split_path(std::string_view path) {
  const std::size_t dot = path.find('.');
  if (dot == std::string_view::npos) return {path, {}};
  return {path.substr(0, dot), path.substr(dot + 1)};
}

// The item of a list that a step of a path names, "0" the first; none if it names none.
std::optional<std::size_t> item_of(std::string_view step, std::size_t items) {
  std::size_t index = 0;
  const char* end = step.data() + step.size();
  const auto [stop, code] = std::from_chars(step.data(), end, index);
  const bool padded = step.size() > 1 && step.front() == '0';  // one item has one path
  if (code != std::errc{} || stop != end || padded || index >= items) return std::nullopt;
  return index;
}

const ConfigValue* step_into(const ConfigValue& value, std::string_view step) {
  if (!value.is_list()) return value.find(step);
  const auto item = item_of(step, value.items().size());
  return item ? &value.items()[*item] : nullptr;
}

}  // namespace

ConfigValue ConfigValue::null(Location where) {
  ConfigValue value;
  value.where_ = std::move(where);
  return value;
}

ConfigValue ConfigValue::scalar(std::string text, Location where, bool quoted) {
  ConfigValue value;
  value.kind_ = Kind::Scalar;
  value.text_ = std::move(text);
  value.where_ = std::move(where);
  value.quoted_ = quoted;
  return value;
}

ConfigValue ConfigValue::list(std::vector<ConfigValue> items, Location where) {
  ConfigValue value;
  value.kind_ = Kind::List;
  value.items_ = std::move(items);
  value.where_ = std::move(where);
  return value;
}

ConfigValue ConfigValue::map(std::vector<Entry> entries, Location where) {
  ConfigValue value;
  value.kind_ = Kind::Map;
  value.entries_ = std::move(entries);
  value.where_ = std::move(where);
  return value;
}

const ConfigValue* ConfigValue::find(std::string_view key) const {
  const auto it = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.key == key; });
  return it == entries_.end() ? nullptr : &it->value;
}

const ConfigValue* ConfigValue::find_path(std::string_view path) const {
  const auto [head, rest] = split_path(path);
  const ConfigValue* value = step_into(*this, head);
  return value && !rest.empty() ? value->find_path(rest) : value;
}

const Location& ConfigValue::place_of(std::string_view path) const {
  const auto [head, rest] = split_path(path);
  const ConfigValue* value = step_into(*this, head);
  if (!value || value->where().file.empty()) return where_;
  return rest.empty() ? value->where() : value->place_of(rest);
}

Location ConfigValue::blamed() const {
  std::vector<std::string> overrides;
  add_overrides(*this, overrides);
  if (overrides.empty() || where_.file.starts_with("--")) return where_;
  const std::string inside = where_.file.empty() ? "" : fmt::format(" (in {})", where_.to_string());
  return {fmt::format("{}{}", fmt::join(overrides, ", "), inside), {}};
}

void ConfigValue::set(std::string_view key, ConfigValue value) {
  if (is_null()) kind_ = Kind::Map;
  FORETELL_CHECK(is_map(), "key {}", key);
  const auto it = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.key == key; });
  Location where = value.where();
  if (it != entries_.end())
    *it = {std::string(key), std::move(value), std::move(where)};
  else
    entries_.push_back({std::string(key), std::move(value), std::move(where)});
}

void ConfigValue::set_path(std::string_view path, ConfigValue value) {
  const auto [head, rest] = split_path(path);
  if (head.empty()) fail_at(value.where(), "empty key in a path");
  if (is_list()) {
    const auto item = item_of(head, items_.size());
    if (!item)
      fail_at(value.where(), "'{}' is no item of the list at {}: it has {}, the first is 0", head, where_.to_string(),
              items_.size());
    if (!rest.empty()) return items_[*item].set_path(rest, std::move(value));
    items_[*item] = std::move(value);
    return;
  }
  if (!is_null() && !is_map())
    fail_at(value.where(), "'{}' cannot be set: the value at {} is not a mapping", path, where_.to_string());
  if (rest.empty()) return set(head, std::move(value));
  const ConfigValue* existing = find(head);
  ConfigValue child = existing ? *existing : map({}, value.where());
  child.set_path(rest, std::move(value));
  set(head, std::move(child));
}

void ConfigValue::forget_lines() {
  where_.line.reset();
  for (ConfigValue& item : items_) item.forget_lines();
  for (Entry& entry : entries_) {
    entry.where.line.reset();
    entry.value.forget_lines();
  }
}

std::string ConfigValue::to_flow() const {
  YAML::Emitter out;
  out.SetMapFormat(YAML::Flow);
  out.SetSeqFormat(YAML::Flow);
  emit(out, *this);
  std::string text = out.c_str();
  // The emitter wraps long flow collections; a report needs one line. Line breaks inside scalars are escaped by the
  // emitter itself.
  std::string line;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\n') {
      line += text[i];
      continue;
    }
    while (i + 1 < text.size() && text[i + 1] == ' ') ++i;
    if (!line.empty() && line.back() != ' ') line += ' ';
  }
  return line;
}

std::string ConfigValue::to_yaml() const {
  YAML::Emitter out;
  emit(out, *this);
  return std::string(out.c_str()) + "\n";
}

bool same_value(const ConfigValue& a, const ConfigValue& b) {
  if (a.kind_ != b.kind_ || a.text_ != b.text_ || a.items_.size() != b.items_.size() ||
      a.entries_.size() != b.entries_.size())
    return false;
  for (std::size_t i = 0; i < a.items_.size(); ++i)
    if (!same_value(a.items_[i], b.items_[i])) return false;
  for (std::size_t i = 0; i < a.entries_.size(); ++i)
    if (a.entries_[i].key != b.entries_[i].key || !same_value(a.entries_[i].value, b.entries_[i].value)) return false;
  return true;
}

namespace {

// YAML 1.2, section 5.1: what a document may hold unescaped. The library takes anything, but does not write all of it
// back as it was.
bool is_printable(std::int32_t code) {
  if (code < 0x20) return code == '\t' || code == '\n' || code == '\r';
  return code < 0x7f || code == 0x85 || (code >= 0xa0 && code != 0xfffe && code != 0xffff);
}

void check_characters(const std::string& text, const std::string& name) {
  int line = 1;
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(text.data());
  const auto size = static_cast<std::ptrdiff_t>(text.size());
  for (std::ptrdiff_t at = 0; at < size;) {
    std::int32_t code = 0;
    const auto length = utf8proc_iterate(bytes + at, size - at, &code);
    if (length <= 0) fail_at(Location{name, line}, "not valid YAML: the byte 0x{:02x} is not UTF-8", bytes[at]);
    if (!is_printable(code))
      fail_at(Location{name, line},
              "not valid YAML: the character U+{:04X} must be written as an escape in double quotes", code);
    line += code == '\n';
    at += length;
  }
}

[[noreturn]] void too_large(const std::string& name, std::uintmax_t bytes) {
  fail("{}: {} are more than a configuration can have ({})", name, counted(bytes, "byte"), kMaxBytes);
}

// YAML itself gives braces a meaning within [...] and {...}.
std::string hint_for(const std::string& text, int line) {
  std::istringstream lines(text);
  std::string here;
  for (int i = 0; i <= line && std::getline(lines, here); ++i) continue;
  return here.find("${") == std::string::npos
             ? ""
             : R"(; between braces or brackets a value with ${NAME} is written in quotes: "${NAME}/...")";
}

}  // namespace

ConfigValue parse_yaml(const std::string& text, const std::string& name) {
  if (text.size() > kMaxBytes) too_large(name, text.size());
  check_characters(text, name);
  try {
    return Converter(name).convert(YAML::Load(text), 0);
  } catch (const YAML::Exception& e) {
    if (e.mark.is_null()) throw Error(Location{name, 1}, "not valid YAML: " + e.msg);
    throw Error(Location{name, e.mark.line + 1}, "not valid YAML: " + e.msg + hint_for(text, e.mark.line));
  }
}

ConfigValue load_yaml(const std::filesystem::path& file) {
  std::ifstream in = open_input(file);
  std::error_code ignored;
  if (const auto size = std::filesystem::file_size(file, ignored); size > kMaxBytes) too_large(file.string(), size);
  std::ostringstream text;
  text << in.rdbuf();
  return parse_yaml(text.str(), file.string());
}

Override parse_override(const std::string& assignment) {
  const std::size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0) fail("--set {}: expected a.b.c=value", assignment);
  const std::string path = assignment.substr(0, equals);
  ConfigValue value = parse_yaml(assignment.substr(equals + 1), "--set " + path);
  value.forget_lines();
  return {path, std::move(value)};
}

void apply_override(ConfigValue& document, const std::string& assignment) {
  Override parsed = parse_override(assignment);
  document.set_path(parsed.path, std::move(parsed.value));
}

}  // namespace foretell
