#include "experiments/util/progress.h"

#include <cmath>

#include "experiments/util/console.h"
#include "framework/core/error.h"

namespace foretell::util {
namespace {

constexpr double kSecond = 1e9;

}  // namespace

std::string clock_time(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  return whole >= 3600 ? fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
                       : fmt::format("{}:{:02}", whole / 60, whole % 60);
}

void Progress::start_cell(const std::string& name, int total) {
  ++cell_;
  start_part(name, total, cell_unit_);
}

void Progress::start_part(const std::string& name, int total, const std::string& unit) {
  done_ = 0;
  total_ = total;
  name_ = name;
  unit_ = unit;
  since_start_ = since_shown_ = Stopwatch();
  if (error_is_terminal()) show(false);
}

void Progress::advance(int count) {
  done_ += count;
  if (done_ >= total_) return;
  const double pause = error_is_terminal() ? 0.1 : 10.0;
  if (static_cast<double>(since_shown_.elapsed_ns()) < pause * kSecond) return;
  since_shown_ = Stopwatch();
  show(false);
}

void Progress::finish_cell() { show(true); }

void Progress::note(const std::string& text) { print_error_line(text); }

void Progress::show(bool final) {
  const double seconds = static_cast<double>(since_start_.elapsed_ns()) / kSecond;
  std::string line =
      fmt::format("[{}/{}] {}: {}/{} {}, {}", cell_, cells_, name_, done_, total_, unit_, clock_time(seconds));
  if (!final && done_ > 0) line += fmt::format(", {} left", clock_time(seconds / done_ * (total_ - done_)));
  print_error_line(line, !final);
}

}  // namespace foretell::util
