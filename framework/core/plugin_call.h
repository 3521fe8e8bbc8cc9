/// @file
/// A call into a plug-in: whatever goes wrong inside is told with the names of the plug-in and of its strategy, and
/// with the step and the prompt.
///
/// Contract: call_plugin() runs one call. What it throws leaves as a PluginError, an Error of one line: a rule of the
/// contract that was broken, an exception of any type. A signal that a fault raises there (SIGSEGV, SIGFPE, ...;
/// abort() too) ends the program with exit code 2 and one line on standard error, once watch_plugin_calls() has been
/// called; so does exit(). A call that takes longer than FORETELL_PLUGIN_PATIENCE seconds (30) is named on standard
/// error by a thread of its own, again after twice that time and so on; it is never ended. Signals that arrive outside
/// of such calls do what they always do. One thread calls strategies at a time; what they do in threads of their own
/// counts as their call.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "framework/core/error.h"

namespace foretell {

/// Whose code is called.
struct PluginStrategy {
  /// The kind of strategy, and its registered name:
  std::string kind, name;  ///< "drafter", "bigram"
  std::string file;        ///< of the plug-in: "libbigram.so"; empty: built in
  /// "drafter 'bigram' of plug-in libbigram.so"
  std::string label() const {
    if (kind.empty()) return "plug-in " + file;  // none of its strategies: the library itself
    return fmt::format("{} '{}'{}{}", kind, name, file.empty() ? "" : " of plug-in ", file);
  }
};

/// What a plug-in did wrong, with its name.
class PluginError : public Error {
 public:
  using Error::Error;
};

/// Marks that a plug-in's code runs, from construction to destruction, so that a signal or a hang can be told.
class PluginCall {
 public:
  /// `what`: "draft()", "its constructor".
  /// `place`: where a study names the strategy, for what can only be the study's fault or the plug-in's.
  PluginCall(const PluginStrategy& who, std::string_view what, Location place = {});
  ~PluginCall();
  PluginCall(const PluginCall&) = delete;
  PluginCall& operator=(const PluginCall&) = delete;

  /// In a catch block: throws what was caught as it leaves the plug-in.
  [[noreturn]] void rethrow() const;

  /// Whose call it is, and " in draft() at step 3 of prompt q81": as text of a fixed place, because a signal handler
  /// reads it.
  const char* who() const { return who_; }
  /// Which of its methods runs, at which step, for which prompt.
  const char* where() const { return where_; }
  /// When the call began.
  std::chrono::steady_clock::time_point start() const { return start_; }
  /// The call that this one is made inside of; null: none.
  PluginCall* outer() const { return outer_; }

 private:
  char who_[256];
  char where_[512];
  std::chrono::steady_clock::time_point start_;
  PluginCall* outer_;
  Location place_;
};

/// Runs f() as a call of `who`; what it throws leaves as a PluginError.
template <class F>
decltype(auto) call_plugin(const PluginStrategy& who, std::string_view what, F&& f, const Location& place = {}) {
  const PluginCall call(who, what, place);
  try {
    return f();
  } catch (...) {
    call.rethrow();
  }
}

/// Signal handlers and the thread that waits; from then on, and once.
void watch_plugin_calls();

}  // namespace foretell
