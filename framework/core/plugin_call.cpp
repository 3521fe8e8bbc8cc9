#include "framework/core/plugin_call.h"

#include <cxxabi.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <mutex>
#include <new>
#include <thread>
#include <utility>

#include "framework/core/at_work.h"
#include "framework/core/printable.h"

namespace foretell {
namespace {

constexpr int kFaultOfThePlugin = 2;  // the exit code of a user's mistake
constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

// The innermost call. The watcher reads under the lock; a signal handler cannot.
std::atomic<PluginCall*> active{nullptr};
std::mutex active_lock;

// Names come from files, and this goes to the terminal as it is.
template <std::size_t N>
void set_text(char (&out)[N], std::string_view text) {
  const std::string shown = excerpt(printable(text), N - 4);
  std::copy_n(shown.c_str(), shown.size() + 1, out);
}

// The name of a type as it is written in C++.
std::string readable(const std::type_info* type) {
  if (!type) return "an unknown type";
  int status = 0;
  char* name = abi::__cxa_demangle(type->name(), nullptr, nullptr, &status);
  std::string out = status == 0 && name ? name : type->name();
  std::free(name);
  return out;
}

// A message in one line; LibTorch's end with the stack at the throw.
std::string brief(std::string_view message) {
  message = message.substr(0, message.find("\nException raised from"));
  std::string out;
  for (const char c : message)
    if (c != '\n' && c != '\r')
      out += c;
    else if (!out.empty() && out.back() != ' ')
      out += ' ';
  return out;
}

// Only what may be called in a signal handler.
void write_all(std::initializer_list<const char*> parts) {
  for (const char* part : parts) {
    const ssize_t ignored = ::write(STDERR_FILENO, part, std::strlen(part));
    static_cast<void>(ignored);
  }
}

const char* name_of_signal(int signal) {
  switch (signal) {
    case SIGSEGV: return "SIGSEGV, an invalid access to memory or a stack that is full";
    case SIGBUS: return "SIGBUS, an invalid access to memory";
    case SIGFPE: return "SIGFPE, an invalid operation on integers";
    case SIGILL: return "SIGILL, an invalid instruction";
    default: return "SIGABRT, a call of abort()";
  }
}

const char* line_start = "foretell: ";  // with a line feed where a line of progress may stand on the terminal

[[noreturn]] void end_with(const PluginCall& call, const char* verb, const char* reason) {
  write_all({line_start, call.who(), verb, call.where(), ": ", reason, "; what was finished is kept\n"});
  ::_exit(kFaultOfThePlugin);
}

extern "C" void on_fault(int signal) {
  if (const PluginCall* call = active.load(std::memory_order_relaxed))
    end_with(*call, " crashed", name_of_signal(signal));
  ::raise(signal);  // not ours: what it does by default it does now
}

std::terminate_handler terminate_before = nullptr;

void on_terminate() {
  if (const PluginCall* call = active.load(std::memory_order_relaxed))
    end_with(*call, " crashed", "an exception that nobody caught");
  terminate_before();
  std::abort();
}

// A plug-in must not end the program as if all had gone well.
void on_exit_inside() {
  if (const PluginCall* call = active.load(std::memory_order_relaxed))
    end_with(*call, " ended the program", "it called exit()");
}

void catch_faults() {
  static std::array<char, 1 << 16> stack;  // that of the program may be what is full
  const stack_t alternative{.ss_sp = stack.data(), .ss_flags = 0, .ss_size = stack.size()};
  ::sigaltstack(&alternative, nullptr);
  struct sigaction action = {};
  action.sa_handler = on_fault;
  action.sa_flags = SA_ONSTACK | SA_RESETHAND;
  for (const int signal : kSignals) ::sigaction(signal, &action, nullptr);
}

// Says which call is being waited for.
class CallWatcher {
 public:
  explicit CallWatcher(std::chrono::milliseconds patience) : patience_(patience), thread_([this] { watch(); }) {}
  ~CallWatcher() {
    {
      const std::lock_guard lock(mutex_);
      ends_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }

 private:
  void watch() {
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, patience_ / 4, [this] { return ends_; })) look();
  }

  void look() {
    const std::lock_guard lock(active_lock);
    const PluginCall* call = active.load();
    if (!call) return;
    const PluginCall* outermost = call;
    while (outermost->outer()) outermost = outermost->outer();
    if (outermost->start() != told_) {
      told_ = outermost->start();
      next_ = patience_;
    }
    const auto waited = std::chrono::steady_clock::now() - outermost->start();
    if (waited < next_) return;
    while (next_ <= waited) next_ *= 2;
    const std::string seconds = std::to_string(std::chrono::duration_cast<std::chrono::seconds>(waited).count());
    write_all({line_start, "waiting for ", call->who(), call->where(), " since ", seconds.c_str(),
               " s; Ctrl-C, twice in a run, ends it\n"});
  }

  std::chrono::milliseconds patience_, next_{};
  std::chrono::steady_clock::time_point told_{};
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ends_ = false;
  std::thread thread_;  // last: it uses the others
};

std::chrono::milliseconds patience() {
  const char* text = std::getenv("FORETELL_PLUGIN_PATIENCE");
  const double seconds = text ? std::strtod(text, nullptr) : 0;
  return std::chrono::milliseconds(static_cast<int>(seconds >= 0.1 && seconds <= 1e5 ? seconds * 1000 : 30000));
}

}  // namespace

PluginCall::PluginCall(const PluginStrategy& who, std::string_view what, Location place)
    : start_(std::chrono::steady_clock::now()), place_(std::move(place)) {
  set_text(who_, who.label());
  set_text(where_, fmt::format(" in {}{}", what, AtWork::where()));
  const std::lock_guard lock(active_lock);
  outer_ = active.exchange(this);
}

PluginCall::~PluginCall() {
  const std::lock_guard lock(active_lock);
  active.store(outer_);
}

void PluginCall::rethrow() const {
  const auto at_its_place = [&](const std::string& message) {
    const bool known = place_.file.empty() || message.starts_with(place_.file);
    return PluginError(known ? message : fmt::format("{}: {}", place_.to_string(), message));
  };
  const auto told = [&](std::string_view verb, std::string_view reason) {
    return at_its_place(fmt::format("{} {}{}{}{}", who_, verb, where_, reason.empty() ? "" : ": ", brief(reason)));
  };
  try {
    throw;
  } catch (const PluginError&) {
    throw;  // of a plug-in's strategy that this one uses
  } catch (const ContractError& error) {
    throw told("broke its contract", error.rule());
  } catch (const InternalError& error) {
    throw told("broke its contract", error.what());
  } catch (const Error& error) {
    throw at_its_place(fmt::format("{} ({}{})", brief(error.what()), who_, where_));  // a user's mistake
  } catch (const std::bad_alloc&) {
    throw told("ran out of memory", "");
  } catch (const std::exception& error) {
    throw told(fmt::format("threw {}", readable(abi::__cxa_current_exception_type())), error.what());
  } catch (...) {
    throw told(fmt::format("threw {}, which is no std::exception,", readable(abi::__cxa_current_exception_type())), "");
  }
}

void watch_plugin_calls() {
  static const bool once = [] {
    if (::isatty(STDERR_FILENO) == 1) line_start = "\nforetell: ";
    catch_faults();
    terminate_before = std::set_terminate(on_terminate);
    std::atexit(on_exit_inside);
    return true;
  }();
  static_cast<void>(once);
  static CallWatcher watcher(patience());
}

}  // namespace foretell
