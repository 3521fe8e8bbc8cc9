// Reading JSON that may be hostile.
//
// Contract: parse_json() returns the document or throws one Error that names the text; it never recurses without bound.
// JsonObject reads the keys of an object with type and range checks; every Error names the text and the key. An absent
// key and a null one are the same: "not given".
#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "framework/core/error.h"

namespace foretell::io {

struct JsonLimits {
  std::size_t bytes = std::size_t{16} << 20;
  int depth = 32;
  bool unique_keys =
      false;  // true: a key given twice is an Error; else the last one counts, as for Hugging Face's own reader
};

nlohmann::json parse_json(std::string_view text, const std::string& name, const JsonLimits& limits = {});

// Another name that files may give a key. Where both are there the alias counts, as in Transformers' attribute_map.
struct JsonAlias {
  const char* key;
  const char* alias;
};

// A view of an object that lives elsewhere; cheap to copy.
class JsonObject {
 public:
  // `prefix` stands before key names in messages ("rope_scaling.").
  JsonObject(const nlohmann::json& object, std::string name, std::string prefix = "");

  // The same object with other names for some of its keys, which messages call by the name that the file has. `aliases`
  // outlive the view.
  JsonObject with_aliases(std::span<const JsonAlias> aliases) const;

  bool has(const char* key) const { return find(key) != nullptr; }
  bool empty() const;
  const nlohmann::json* find(const char* key) const;  // null if absent or null
  bool is_null(const char* key) const;  // there, and null: some keys say "none" so, while their absence means a default
  std::optional<std::int64_t> integer(const char* key, std::int64_t low, std::int64_t high) const;
  std::optional<double> number(const char* key, double low, double high) const;
  std::optional<bool> boolean(const char* key) const;
  std::optional<std::string> string(const char* key) const;
  std::optional<JsonObject> object(const char* key) const;

  template <class... Args>
  [[noreturn]] void refuse(const char* key, fmt::format_string<Args...> format, Args&&... args) const {
    fail("{}: '{}{}' {}", name_, prefix_, spelled(key), fmt::format(format, std::forward<Args>(args)...));
  }

  const std::string& name() const { return name_; }

 private:
  const char* spelled(const char* key) const;

  const nlohmann::json* object_;
  std::span<const JsonAlias> aliases_;
  std::string name_;
  std::string prefix_;
};

// The value as it stands, shortened, for messages.
std::string shown(const nlohmann::json& value);

}  // namespace foretell::io
