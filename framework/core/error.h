/// @file
/// How Foretell reports what went wrong.
///
/// Contract:
/// - A user's mistake (a bad key, a missing file, hostile input) throws Error. Its what() is one line that says where
///   (file:line where that is known), what was found, what was expected and what is allowed. The executable prints that
///   line and exits with code 2.
/// - A broken invariant, our own mistake, fails FORETELL_CHECK, which throws InternalError with the values; the
///   executable exits with code 70.
/// - A strategy that breaks a rule of its contract fails FORETELL_CONTRACT: an internal error of ours, too, unless the
///   strategy is a plug-in's. Then it becomes an Error that names the plug-in (framework/core/plugin_call.h).
/// - No error is ever turned into a result.
#pragma once

#include <fmt/format.h>

#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <typeinfo>
#include <utility>
#include <vector>

namespace foretell {

/// A place in a file that the user can open. Lines count from 1; a file without lines (weights) has none.
struct Location {
  std::string file;         ///< as the user wrote it; empty: not known
  std::optional<int> line;  ///< from 1
  /// "file:line", or the file alone.
  std::string to_string() const { return line ? fmt::format("{}:{}", file, *line) : file; }
  /// A line, or an option of the command line: nothing can be said more exactly.
  bool is_exact() const { return line.has_value() || file.starts_with("--"); }
};

/// A user's mistake.
class Error : public std::runtime_error {
 public:
  /// A mistake without a place.
  explicit Error(const std::string& message) : std::runtime_error(message) {}
  /// Without a file in front where none is known.
  Error(const Location& where, const std::string& message)
      : std::runtime_error(where.file.empty() ? message : where.to_string() + ": " + message),
        has_exact_place_(where.is_exact()) {}
  /// Whether the message names a line or an option.
  bool has_exact_place() const { return has_exact_place_; }

 private:
  bool has_exact_place_ = false;
};

/// A broken invariant of ours.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

/// What a strategy hands over is not what its interface demands.
class ContractError : public InternalError {
 public:
  /// `rule`: what was found and what the contract says. `file`, `line`: of the check.
  ContractError(std::string rule, const char* file, int line);
  /// What was found and what the contract says, without a place in our sources.
  const std::string& rule() const { return rule_; }

 private:
  std::string rule_;
};

/// Throws an Error with a formatted message.
template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

/// Throws an Error at a place, with a formatted message.
template <class... Args>
[[noreturn]] void fail_at(const Location& where, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(where, fmt::format(format, std::forward<Args>(args)...));
}

/// Calls body(); a mistake that has no line of its own is one at `where`: the line that names the model that cannot be
/// loaded.
template <class Body>
decltype(auto) placed_at(const Location& where, Body&& body) {
  try {
    return std::forward<Body>(body)();
  } catch (const Error& error) {
    // An error of another kind says more than its words.
    if (error.has_exact_place() || typeid(error) != typeid(Error)) throw;
    throw Error(where, error.what());
  }
}

/// Throws the InternalError of a failed FORETELL_CHECK.
[[noreturn]] void check_failed(const char* condition, const std::string& values, const char* file, int line);
/// Throws the ContractError of a failed FORETELL_CONTRACT.
[[noreturn]] void contract_broken(std::string rule, const char* file, int line);

/// The known name that is nearest to `name` by edit distance, if it is near enough to be what was meant (at most a
/// third of its letters differ).
std::optional<std::string> nearest_name(std::string_view name, std::span<const std::string> known);

/// "unknown drafter 'promt_lookup' (did you mean 'prompt_lookup'?); known: model, none, ..."
std::string unknown_name_message(std::string_view kind, std::string_view name, std::span<const std::string> known);
/// The same with another suggestion than the nearest name; none: no suggestion.
std::string unknown_name_message(std::string_view kind, std::string_view name, std::span<const std::string> known,
                                 const std::optional<std::string>& meant);

/// "a drafter", "an exit policy".
std::string with_article(std::string_view noun);

}  // namespace foretell

/// FORETELL_CHECK(a == b, "a {} b {}", a, b): costs one branch; stays in release builds.
#define FORETELL_CHECK(condition, ...)                                                      \
  do {                                                                                      \
    if (!(condition)) [[unlikely]]                                                          \
      ::foretell::check_failed(#condition, ::fmt::format(__VA_ARGS__), __FILE__, __LINE__); \
  } while (false)

/// FORETELL_CONTRACT(token < vocab, "token {} is outside the vocabulary of {} tokens", token, vocab): the same for what
/// a strategy hands over.
#define FORETELL_CONTRACT(condition, ...)                                          \
  do {                                                                             \
    if (!(condition)) [[unlikely]]                                                 \
      ::foretell::contract_broken(::fmt::format(__VA_ARGS__), __FILE__, __LINE__); \
  } while (false)
