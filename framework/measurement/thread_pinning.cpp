#include "framework/measurement/thread_pinning.h"

#include <ATen/Parallel.h>
#include <sched.h>

#include <algorithm>
#include <vector>

#include "framework/core/processors.h"
#include "framework/kernels/worker_threads.h"

namespace foretell::measurement {
namespace {

void let_run_on(const std::vector<int>& processors) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : processors) CPU_SET(cpu, &set);
  ::sched_setaffinity(0, sizeof set, &set);  // refused: it stays where the system puts it
}

}  // namespace

PinnedThreads::PinnedThreads(bool wanted) {
  const int threads = at::get_num_threads();
  if (!wanted || static_cast<int>(usable_processors().size()) < threads) return;
  std::vector<int> order = usable_processors();
  const auto here = std::find(order.begin(), order.end(), ::sched_getcpu());
  if (here != order.end()) std::rotate(order.begin(), here, order.end());
  threads_ = threads;
  kernels::on_each_thread(threads, [&](int thread) { let_run_on({order[static_cast<std::size_t>(thread)]}); });
}

PinnedThreads::~PinnedThreads() {
  if (threads_ > 0) kernels::on_each_thread(threads_, [](int) { let_run_on(usable_processors()); });
}

}  // namespace foretell::measurement
