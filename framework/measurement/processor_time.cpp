#include "framework/measurement/processor_time.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <sstream>
#include <string>
#include <system_error>

#include "framework/io/system_file.h"

namespace foretell::measurement {
namespace {

namespace fs = std::filesystem;

constexpr double kShortestSpan_s = 0.2;  // 20 ticks of /proc/stat

// "ran waited slices" of each thread, in nanoseconds. What it ran is as old as the last tick.
std::optional<double> waited_seconds(const fs::path& tasks) {
  std::optional<double> out;
  std::error_code error;
  for (fs::directory_iterator task(tasks, error), end; !error && task != end; task.increment(error)) {
    std::istringstream words(io::read_system_file(task->path() / "schedstat").value_or(""));
    double ran = 0, waited = 0;
    if (!(words >> ran >> waited)) continue;
    out = out.value_or(0) + waited * 1e-9;
  }
  return out;
}

// To the nanosecond, the running threads' included.
std::optional<double> ran_seconds() {
  timespec time{};
  if (::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) != 0) return std::nullopt;
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// "cpu user nice system idle iowait irq softirq steal ...", in ticks.
std::optional<double> busy_seconds(const fs::path& stat) {
  const long ticks = ::sysconf(_SC_CLK_TCK);
  std::istringstream words(io::read_system_file(stat).value_or(""));
  std::string name;
  double user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0;
  if (ticks <= 0 || !(words >> name >> user >> nice >> system >> idle >> iowait >> irq >> softirq >> steal) ||
      name != "cpu")
    return std::nullopt;
  return (user + nice + system + irq + softirq + steal) / static_cast<double>(ticks);
}

}  // namespace

ProcessorTime read_processor_time(const fs::path& proc) {
  ProcessorTime out;
  out.at_s = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  out.ran_s = ran_seconds();
  out.waited_s = waited_seconds(proc / "self/task");
  out.busy_s = busy_seconds(proc / "stat");
  return out;
}

std::optional<double> contention(const ProcessorTime& before, const ProcessorTime& after) {
  if (!before.ran_s || !before.waited_s || !after.ran_s || !after.waited_s) return std::nullopt;
  const double ran = std::max(0.0, *after.ran_s - *before.ran_s),
               waited = std::max(0.0, *after.waited_s - *before.waited_s);
  if (ran + waited <= 0) return std::nullopt;
  return waited / (ran + waited);
}

std::optional<double> used_by_others(const ProcessorTime& before, const ProcessorTime& after) {
  const double span = after.at_s - before.at_s;
  if (span < kShortestSpan_s || !before.busy_s || !after.busy_s || !before.ran_s || !after.ran_s) return std::nullopt;
  return std::max(0.0, (*after.busy_s - *before.busy_s - (*after.ran_s - *before.ran_s)) / span);
}

}  // namespace foretell::measurement
