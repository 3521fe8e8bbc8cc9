// A YAML document as a value in which every key and value remembers where it was written.
//
// Contract: a tree of null, scalar, list and map. Maps keep the order of the file and have no key twice (a duplicate is
// an Error). Anchors and aliases are expanded; depth, node count and file size are bounded, so a hostile file ends in
// an Error and not in exhausted memory. A value that came from the command line is located as "--set a.b".
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "framework/core/error.h"

namespace foretell {

class ConfigValue {
 public:
  enum class Kind { Null, Scalar, List, Map };
  struct Entry;

  ConfigValue() = default;
  static ConfigValue null(Location where);
  static ConfigValue scalar(std::string text, Location where = {}, bool quoted = false);
  static ConfigValue list(std::vector<ConfigValue> items, Location where = {});
  static ConfigValue map(std::vector<Entry> entries, Location where = {});

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::Null; }
  bool is_scalar() const { return kind_ == Kind::Scalar; }
  bool is_list() const { return kind_ == Kind::List; }
  bool is_map() const { return kind_ == Kind::Map; }
  const Location& where() const { return where_; }

  const std::string& text() const { return text_; }  // of a scalar
  bool quoted() const { return quoted_; }            // "1" is a string even where 1 would be a number
  const std::vector<ConfigValue>& items() const { return items_; }
  const std::vector<Entry>& entries() const { return entries_; }
  const ConfigValue* find(std::string_view key) const;  // of a map; nullptr if it has no such key
  // The value at a dotted path ("pipeline.drafter.type"), nullptr if there is none.
  const ConfigValue* find_path(std::string_view path) const;
  // Where the value at a dotted path was written; of the innermost mapping around it that has a place, if it was not
  // written.
  const Location& place_of(std::string_view path) const;

  // Replaces the value at a dotted path; maps on the way are created. An Error if a scalar or list stands in the way.
  void set_path(std::string_view path, ConfigValue value);
  // Sets one entry of this map (a null value becomes a map).
  void set(std::string_view key, ConfigValue value);

  // For values that came from a command line: lines mean nothing there.
  void forget_lines();

  // One line of flow-style YAML that parses back to the same value.
  std::string to_flow() const;
  // Block-style YAML with a final newline.
  std::string to_yaml() const;

  friend bool same_value(const ConfigValue& a, const ConfigValue& b);  // without locations

 private:
  Kind kind_ = Kind::Null;
  Location where_;
  std::string text_;
  bool quoted_ = false;
  std::vector<ConfigValue> items_;
  std::vector<Entry> entries_;
};

struct ConfigValue::Entry {
  std::string key;
  ConfigValue value;
  Location where;  // of the key
};

bool same_value(const ConfigValue& a, const ConfigValue& b);

ConfigValue load_yaml(const std::filesystem::path& file);
// `name` stands for the file in messages.
ConfigValue parse_yaml(const std::string& text, const std::string& name);

// "a.b.c=value", the value read as YAML; it is located as "--set a.b.c".
struct Override {
  std::string path;
  ConfigValue value;
};
Override parse_override(const std::string& assignment);
void apply_override(ConfigValue& document, const std::string& assignment);

}  // namespace foretell
