// How much of the processors this process had, and how much other processes took from it.
//
// Contract: read from the kernel's files below the root and its clocks; what is not told is absent. A thread waits
// while it could run and no processor is free for it; the kernel counts that in nanoseconds, so that a run of
// milliseconds can be judged. Of threads that have ended, waiting is not counted.
#pragma once

#include <filesystem>
#include <optional>

namespace foretell::measurement {

struct ProcessorTime {
  double at_s = 0;                      // by a steady clock
  std::optional<double> ran_s = {};     // our threads, together
  std::optional<double> waited_s = {};  // our threads, for a processor (/proc/self/task/N/schedstat)
  std::optional<double> busy_s = {};  // all processors, whoever used them, what a hypervisor took included (/proc/stat)
};
ProcessorTime read_processor_time(const std::filesystem::path& proc = "/proc");

// [1] Of the time that our threads wanted a processor, the share in which they had none: 0 on a machine that nobody
// else uses. Absent where it is not told or where no thread ran.
std::optional<double> contention(const ProcessorTime& before, const ProcessorTime& after);
// [processors] that others used on average. Absent where it is not told, and for spans too short for the kernel's
// ticks.
std::optional<double> used_by_others(const ProcessorTime& before, const ProcessorTime& after);

}  // namespace foretell::measurement
