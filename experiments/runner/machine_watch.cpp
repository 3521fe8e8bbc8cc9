#include "experiments/runner/machine_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "experiments/util/interrupt.h"
#include "framework/metrics/statistics.h"

namespace foretell::runner {
namespace {

constexpr double kLook_s = 0.25;  // long enough for the kernel's ticks
constexpr double kSlack = 0.25;   // [processors] of others that a quiet machine may have

}  // namespace

MachineWatch::MachineWatch(int threads)
    : threads_(threads), state_(measurement::read_machine_state()), begin_(measurement::read_processor_time()) {}

std::vector<std::string> MachineWatch::notes_at_start() const {
  std::vector<std::string> notes = measurement::timing_doubts(state_, threads_);
  for (std::string& note : notes) note.insert(0, "times may be off: ");
  return notes;
}

std::vector<std::string> MachineWatch::notes_at_end() const {
  const measurement::ProcessorTime now = measurement::read_processor_time();
  const auto waited = contention(begin_, now), others = measurement::used_by_others(begin_, now);
  const auto exceeds = [&](const std::optional<double>& load) {
    return load && state_.cpus && *load + threads_ > *state_.cpus + 0.5;
  };
  const std::string used =
      others && state_.cpus ? fmt::format("; others used {:.1f} of {} CPUs meanwhile", *others, *state_.cpus) : "";
  if (!waited) return exceeds(others) ? std::vector{"times may be off" + used} : std::vector<std::string>{};
  const std::string words = fmt::format("threads waited {:.0f}% of their time for a processor{}", 100 * *waited, used);
  if (*waited > metrics::kMostContention) return {"times may be off: " + words};
  if (exceeds(state_.load_1)) return {"the load did little harm after all: " + words};
  return {};
}

void wait_for_quiet(double seconds, int threads) {
  const auto cpus = measurement::read_machine_state().cpus;
  for (double left = seconds; left > 0 && !util::interrupted(); left -= kLook_s) {
    const measurement::ProcessorTime before = measurement::read_processor_time();
    std::this_thread::sleep_for(std::chrono::duration<double>(std::min(left, kLook_s)));
    const auto others = measurement::used_by_others(before, measurement::read_processor_time());
    if (others && cpus && *others + std::min(threads, *cpus) <= *cpus + kSlack) return;
  }
}

}  // namespace foretell::runner
