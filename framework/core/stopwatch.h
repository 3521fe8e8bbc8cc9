// Monotonic time.
//
// Contract: nanoseconds since construction or the last lap; never negative, never affected by changes of the wall
// clock.
#pragma once

#include <chrono>
#include <cstdint>

namespace foretell {

class Stopwatch {
 public:
  std::int64_t elapsed_ns() const { return since(start_, Clock::now()); }
  // The time since the previous lap (or the start), and starts the next lap.
  std::int64_t lap_ns() {
    const auto now = Clock::now();
    const std::int64_t ns = since(start_, now);
    start_ = now;
    return ns;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static std::int64_t since(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(to - from).count();
  }
  Clock::time_point start_ = Clock::now();
};

}  // namespace foretell
