/// @file
/// A YAML document as a value in which every key and value remembers where it was written.
///
/// Contract: a tree of null, scalar, list and map. Maps keep the order of the file and have no key twice (a duplicate
/// is an Error). Anchors and aliases are expanded; depth, node count and file size are bounded, so a hostile file ends
/// in an Error and not in exhausted memory. A value that came from the command line is located as "--set a.b".
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "framework/core/error.h"

namespace foretell {

/// Null, a scalar, a list or a map, with the place where it was written.
class ConfigValue {
 public:
  /// What a value is.
  enum class Kind { Null, Scalar, List, Map };
  struct Entry;

  ConfigValue() = default;
  /// @{
  /// A value of the kind of the name. `quoted`: it was written in quotes, so it is text whatever it looks like.
  static ConfigValue null(Location where);
  static ConfigValue scalar(std::string text, Location where = {}, bool quoted = false);
  static ConfigValue list(std::vector<ConfigValue> items, Location where = {});
  static ConfigValue map(std::vector<Entry> entries, Location where = {});
  /// @}

  /// @{
  /// What this value is.
  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::Null; }
  bool is_scalar() const { return kind_ == Kind::Scalar; }
  bool is_list() const { return kind_ == Kind::List; }
  bool is_map() const { return kind_ == Kind::Map; }
  /// @}
  /// Where the value was written.
  const Location& where() const { return where_; }

  /// Where a mistake is that the value as a whole makes: where it was written, and beside it what the command line has
  /// put into it ("--set a.b (in study.yaml:3)"), if anything.
  Location blamed() const;

  /// The text of a scalar.
  const std::string& text() const { return text_; }
  /// Whether it was written in quotes: "1" is a string even where 1 would be a number.
  bool quoted() const { return quoted_; }
  /// The items of a list.
  const std::vector<ConfigValue>& items() const { return items_; }
  /// The entries of a map, in the order of the file.
  const std::vector<Entry>& entries() const { return entries_; }
  /// The value of a key of a map; nullptr if it has no such key.
  const ConfigValue* find(std::string_view key) const;
  /// The value at a dotted path ("pipeline.drafter.type"; "policies.0.type" for the first item of a list), nullptr if
  /// there is none.
  const ConfigValue* find_path(std::string_view path) const;
  /// Where the value at a dotted path was written; of the innermost mapping around it that has a place, if it was not
  /// written.
  const Location& place_of(std::string_view path) const;

  /// Replaces the value at a dotted path; maps on the way are created. An Error if a scalar stands in the way, or a
  /// list without that item.
  void set_path(std::string_view path, ConfigValue value);
  /// Sets one entry of this map (a null value becomes a map).
  void set(std::string_view key, ConfigValue value);

  /// For values that came from a command line: lines mean nothing there.
  void forget_lines();

  /// One line of flow-style YAML that parses back to the same value.
  std::string to_flow() const;
  /// Block-style YAML with a final newline.
  std::string to_yaml() const;

  /// See ConfigValue: locations do not count.
  friend bool same_value(const ConfigValue& a, const ConfigValue& b);

 private:
  Kind kind_ = Kind::Null;
  Location where_;
  std::string text_;
  bool quoted_ = false;
  std::vector<ConfigValue> items_;
  std::vector<Entry> entries_;
};

/// One key of a map with its value.
struct ConfigValue::Entry {
  std::string key;    ///< as written
  ConfigValue value;  ///< of the key
  Location where;     ///< of the key
};

/// Whether two values are equal, whatever their places are.
bool same_value(const ConfigValue& a, const ConfigValue& b);

/// Reads a YAML file; an Error names file and line.
ConfigValue load_yaml(const std::filesystem::path& file);
/// `name` stands for the file in messages.
ConfigValue parse_yaml(const std::string& text, const std::string& name);

/// "a.b.c=value", the value read as YAML; it is located as "--set a.b.c".
struct Override {
  std::string path;   ///< "a.b.c"
  ConfigValue value;  ///< what follows "="
};
/// Reads "a.b.c=value"; an Error if that is not its form.
Override parse_override(const std::string& assignment);
/// Sets the value of an override in a document, as ConfigValue::set_path does.
void apply_override(ConfigValue& document, const std::string& assignment);

}  // namespace foretell
