#include "framework/cost/processor_time.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <sstream>
#include <string>
#include <system_error>

#include "framework/cost/system_file.h"

namespace foretell {
namespace {

namespace fs = std::filesystem;

constexpr double kShortestSpan_s = 0.2;  // 20 ticks of /proc/stat

// "ran waited slices" of each thread, in nanoseconds.
void add_threads(const fs::path& tasks, ProcessorTime& out) {
  std::error_code error;
  for (fs::directory_iterator task(tasks, error), end; !error && task != end; task.increment(error)) {
    std::istringstream words(read_system_file(task->path() / "schedstat").value_or(""));
    double ran = 0, waited = 0;
    if (!(words >> ran >> waited)) continue;
    out.ran_s = out.ran_s.value_or(0) + ran * 1e-9;
    out.waited_s = out.waited_s.value_or(0) + waited * 1e-9;
  }
}

// "cpu user nice system idle iowait irq softirq steal ...", in ticks.
std::optional<double> busy_seconds(const fs::path& stat) {
  const long ticks = ::sysconf(_SC_CLK_TCK);
  std::istringstream words(read_system_file(stat).value_or(""));
  std::string name;
  double user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0;
  if (ticks <= 0 || !(words >> name >> user >> nice >> system >> idle >> iowait >> irq >> softirq >> steal) || name != "cpu")
    return std::nullopt;
  return (user + nice + system + irq + softirq + steal) / static_cast<double>(ticks);
}

}  // namespace

ProcessorTime read_processor_time(const fs::path& proc) {
  ProcessorTime out;
  out.at_s = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  add_threads(proc / "self/task", out);
  out.busy_s = busy_seconds(proc / "stat");
  return out;
}

std::optional<double> contention(const ProcessorTime& before, const ProcessorTime& after) {
  if (!before.ran_s || !before.waited_s || !after.ran_s || !after.waited_s) return std::nullopt;
  const double ran = std::max(0.0, *after.ran_s - *before.ran_s), waited = std::max(0.0, *after.waited_s - *before.waited_s);
  if (ran + waited <= 0) return std::nullopt;
  return waited / (ran + waited);
}

std::optional<double> used_by_others(const ProcessorTime& before, const ProcessorTime& after) {
  const double span = after.at_s - before.at_s;
  if (span < kShortestSpan_s || !before.busy_s || !after.busy_s || !before.ran_s || !after.ran_s) return std::nullopt;
  return std::max(0.0, (*after.busy_s - *before.busy_s - (*after.ran_s - *before.ran_s)) / span);
}

}  // namespace foretell
