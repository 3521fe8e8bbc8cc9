#include "framework/core/processors.h"

#include <sched.h>

#include <algorithm>
#include <numeric>
#include <thread>

#include "framework/core/text.h"

namespace foretell {
namespace {

std::vector<int> allowed_processors() {
  std::vector<int> out;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(cpu, &set)) out.push_back(cpu);
    return out;
  }
  // More than the set can name.
  out.resize(std::max(1u, std::thread::hardware_concurrency()));
  std::iota(out.begin(), out.end(), 0);
  return out;
}

}  // namespace

const std::vector<int>& usable_processors() {
  static const std::vector<int> all = allowed_processors();
  return all;
}

void check_threads(int threads, bool oversubscribe, const Location& where, std::string_view insist) {
  const std::size_t processors = usable_processors().size();
  if (oversubscribe || threads <= static_cast<int>(processors)) return;
  fail_at(where, "threads: {} are more than the {} that this process may use; {} insists", threads,
          counted(processors, "processor"), insist);
}

}  // namespace foretell
