#include "framework/kernels/worker_threads.h"

#include <ATen/Parallel.h>
#include <pthread.h>

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <vector>

#include "framework/core/error.h"
#include "framework/core/text.h"

namespace foretell::kernels {
namespace {

// OMP_STACKSIZE: a number with B, K, M or G, KiB without. 0: the system's default.
std::size_t stack_bytes() {
  const char* text = std::getenv("OMP_STACKSIZE");
  if (!text) text = std::getenv("GOMP_STACKSIZE");
  if (!text) return 0;
  char* unit = nullptr;
  const unsigned long long count = std::strtoull(text, &unit, 10);
  while (*unit == ' ') ++unit;
  const char* known = "bkmg";
  const char* found = *unit ? std::strchr(known, *unit | 0x20) : known + 1;
  return found ? static_cast<std::size_t>(count) << (10 * (found - known)) : 0;
}

// Threads that wait for one another, as those of the pool do: either all of them exist at one time or the answer is no.
class TrialThreads {
 public:
  TrialThreads() { gate_.lock(); }
  ~TrialThreads() {
    gate_.unlock();
    for (const pthread_t thread : started_) pthread_join(thread, nullptr);
  }
  TrialThreads(const TrialThreads&) = delete;
  TrialThreads& operator=(const TrialThreads&) = delete;

  // 0, or what the system says.
  int start_one(const pthread_attr_t& how) {
    pthread_t thread{};
    const int error = pthread_create(&thread, &how, &wait_at, &gate_);
    if (error == 0) started_.push_back(thread);
    return error;
  }

 private:
  static void* wait_at(void* gate) {
    const std::lock_guard passed(*static_cast<std::mutex*>(gate));
    return nullptr;
  }

  std::mutex gate_;
  std::vector<pthread_t> started_;
};

void check_threads_start(int threads) {
  pthread_attr_t how{};
  pthread_attr_init(&how);
  if (const std::size_t bytes = stack_bytes(); bytes > 0) pthread_attr_setstacksize(&how, bytes);
  std::size_t stack = 0;
  pthread_attr_getstacksize(&how, &stack);
  int error = 0;
  int started = 1;  // this one
  {
    TrialThreads trial;
    while (started < threads && (error = trial.start_one(how)) == 0) ++started;
  }
  pthread_attr_destroy(&how);
  if (error == 0) return;
  fail(
      "{} of {} can be started: {}; each takes {} KiB for its stack. Fewer threads need less; `ulimit -v`, `ulimit -s` "
      "and `ulimit "
      "-u` "
      "show the limits",
      started, counted(threads, "thread"), std::strerror(error), stack / 1024);
}

}  // namespace

void use_threads(std::optional<int> threads) {
  static int running = 1;
  const int wanted = threads.value_or(at::get_num_threads());
  if (wanted > running) {
    check_threads_start(wanted);
    running = wanted;
  }
  if (threads) at::set_num_threads(*threads);
  on_each_thread(wanted, [](int) {});
}

void on_each_thread(int threads, const std::function<void(int)>& body) {
  // A range of one index a thread, in pieces of one.
  at::parallel_for(0, threads, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) body(static_cast<int>(i));
  });
}

}  // namespace foretell::kernels
