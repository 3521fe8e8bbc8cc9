// Typed reading of JSON files that users hand in.
//
// Contract: every access that finds another type than it expects is an Error that says which key of which file. Nesting
// deeper than kMaxJsonDepth and text that is not UTF-8 are refused before anything is built.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "framework/core/error.h"

namespace foretell::io {

inline constexpr int kMaxJsonDepth = 64;

nlohmann::json parse_json(std::string_view bytes, const Location& where);
nlohmann::ordered_json parse_ordered_json(std::string_view bytes,
                                          const Location& where);  // keys stay in the file's order

// One value of a document and the path that leads to it.
template <class Json>
class BasicJsonView {
 public:
  BasicJsonView(const Json& value, std::string path, const Location& where)
      : value_(&value), path_(std::move(path)), where_(&where) {}

  const Json& raw() const { return *value_; }
  const std::string& path() const { return path_; }
  const Location& where() const { return *where_; }

  std::optional<BasicJsonView> find(
      std::string_view key) const;               // nullopt where it is missing or null; Error where this is no object
  BasicJsonView at(std::string_view key) const;  // Error where it is missing
  BasicJsonView at(std::size_t index) const;
  std::size_t size() const;  // of an array; Error where this is none
  std::vector<std::pair<std::string, BasicJsonView>> entries()
      const;  // of an object, in its order; Error where this is none

  const std::string& string() const;
  std::string id() const;  // a text, or an integer's digits: ids of rows come as either
  bool boolean() const;
  std::int64_t integer() const;
  std::int64_t integer(std::int64_t low, std::int64_t high) const;  // Error outside of [low, high]
  double number() const;
  double number(double low, double high) const;
  std::string type() const { return at("type").string(); }  // the tag that the parts of a tokenizer file carry

  std::string string_or(std::string_view key, std::string fallback) const;
  bool boolean_or(std::string_view key, bool fallback) const;
  std::int64_t integer_or(std::string_view key, std::int64_t fallback) const;

  // "tokenizer.json: /model/vocab: expected an object, found a string"
  [[noreturn]] void expected(std::string_view what) const;
  [[noreturn]] void refuse(std::string_view message) const;

 private:
  const Json* value_;
  std::string path_;  // "" for the document
  const Location* where_;
};

using JsonView = BasicJsonView<nlohmann::json>;
using OrderedJsonView = BasicJsonView<nlohmann::ordered_json>;
extern template class BasicJsonView<nlohmann::json>;
extern template class BasicJsonView<nlohmann::ordered_json>;

/// Calls read with the object of each line of a JSON lines file; a byte order mark and blank lines are passed over.
/// Error where a line holds anything but one object.
void for_each_json_line(std::string_view bytes, const std::string& name,
                        const std::function<void(const JsonView&)>& read);

}  // namespace foretell::io
