/// @file
/// A strategy's parameters: declared once, with default, limits and documentation; read from YAML, listed by `foretell
/// list`.
///
/// Contract: an options struct has one function `void declare(Parameters& p)` that calls add() for each field. The same
/// function documents the parameters (Parameters::describe) and reads them from YAML (Parameters::read), so the two
/// cannot disagree. Reading reports the first mistake as an Error with file:line, what was found and what is allowed; a
/// key that nobody declared is an Error with the nearest known key, before a required key that is missing: it may be
/// that one, misspelt.
///
/// @code{.cpp}
/// struct Options {
///   int max_ngram = 3;
///   void declare(Parameters& p) {
///     p.add("prompt_lookup_max", max_ngram, "longest suffix that is looked up", {.min = 1, .aliases = {"max_ngram"}});
///   }
/// };
/// @endcode
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/core/config_value.h"

namespace foretell {

/// What `foretell list` prints about one parameter.
struct ParameterDoc {
  std::string name;                  ///< the key in YAML
  std::string type;                  ///< "int", "number", "bool", "text", "list of int", ...
  std::string default_value;         ///< as YAML; empty: none
  std::string doc;                   ///< one line
  std::vector<std::string> aliases;  ///< other keys that are accepted
};

/// What a parameter accepts besides its type.
struct Limits {
  std::optional<double> min = {};         ///< inclusive
  std::optional<double> max = {};         ///< inclusive
  std::vector<std::string> choices = {};  ///< of a text; empty: any
  std::vector<std::string> aliases = {};  ///< other keys that are accepted
  bool required = false;                  ///< there is no default
};

/// Collects the documentation of parameters, or reads them, through one declare().
class Parameters {
 public:
  /// Calls options.declare() to collect the documentation; default_value is what each field of `options` holds.
  template <class Options>
  static std::vector<ParameterDoc> describe(Options options = {}) {
    Parameters p(nullptr, {});
    options.declare(p);
    return std::move(p.docs_);
  }

  /// Fills `options` from a mapping (or null, for all defaults). `owner` names the strategy in messages. The keys in
  /// `reserved` ("type") are known but belong to somebody else.
  template <class Options>
  static void read(const ConfigValue& values, const std::string& owner, Options& options,
                   std::vector<std::string> reserved = {}) {
    Parameters p(&values, owner);
    p.known_ = std::move(reserved);
    options.declare(p);
    p.finish();
  }

  /// @{
  /// Declares a parameter that is kept in `field`, whose value at this moment is the default. An Error when a value is
  /// read that is outside of `limits` or of another type.
  void add(std::string_view name, bool& field, std::string_view doc, const Limits& limits = {});
  void add(std::string_view name, int& field, std::string_view doc, const Limits& limits = {});
  void add(std::string_view name, std::int64_t& field, std::string_view doc, const Limits& limits = {});
  void add(std::string_view name, double& field, std::string_view doc, const Limits& limits = {});
  void add(std::string_view name, std::string& field, std::string_view doc, const Limits& limits = {});
  void add(std::string_view name, std::vector<int>& field, std::string_view doc, const Limits& limits = {});
  void add(std::string_view name, std::vector<double>& field, std::string_view doc, const Limits& limits = {});
  void add(std::string_view name, std::vector<std::string>& field, std::string_view doc, const Limits& limits = {});
  void add(std::string_view name, std::optional<int>& field, std::string_view doc, const Limits& limits = {});
  void add(std::string_view name, std::optional<double>& field, std::string_view doc, const Limits& limits = {});
  void add(std::string_view name, std::optional<std::string>& field, std::string_view doc, const Limits& limits = {});
  /// @}
  /// A part of the document that its owner reads later, such as a nested strategy.
  void add(std::string_view name, ConfigValue& field, std::string_view doc, const Limits& limits = {});

  /// What was read; for messages about combinations of parameters.
  Location where() const;

 private:
  Parameters(const ConfigValue* values, std::string owner);
  void finish() const;
  // Documents the parameter; the value given for it (by name or alias), if values are being read and there is one.
  const ConfigValue* declare(std::string_view name, std::string_view type, std::string default_value,
                             std::string_view doc, const Limits& limits);
  template <class T>
  void add_scalar(std::string_view name, T& field, std::string_view type, std::string_view doc, const Limits& limits);
  template <class T>
  void add_list(std::string_view name, std::vector<T>& field, std::string_view type, std::string_view doc,
                const Limits& limits);
  template <class T>
  void add_optional(std::string_view name, std::optional<T>& field, std::string_view type, std::string_view doc,
                    const Limits& limits);

  const ConfigValue* values_;
  std::string owner_;
  std::vector<std::string> known_;
  std::optional<std::string> missing_;  // what finish() says of the first required key that is not there
  std::vector<ParameterDoc> docs_;
};

/// Scalars as YAML 1.2's core schema reads them; an Error at `value` names `key` and what was expected.
bool read_bool(const ConfigValue& value, std::string_view key);
/// An integer that fits 64 bits.
std::int64_t read_int(const ConfigValue& value, std::string_view key);
/// A finite number.
double read_number(const ConfigValue& value, std::string_view key);
/// The text of a scalar.
std::string read_text(const ConfigValue& value, std::string_view key);

}  // namespace foretell
