#include "experiments/workload/arrivals.h"

#include <chrono>
#include <cmath>
#include <deque>
#include <thread>

#include "experiments/util/interrupt.h"
#include "framework/core/rng.h"

namespace foretell::workload {
namespace {

// Short enough for Ctrl-C to be heard.
constexpr std::int64_t kLongestSleep = 100'000'000;

void sleep_ns(std::int64_t ns) { std::this_thread::sleep_for(std::chrono::nanoseconds(std::min(ns, kLongestSleep))); }

}  // namespace

std::vector<std::int64_t> poisson_arrivals(int count, double rate_per_second, std::uint64_t seed) {
  PhiloxRng rng({.seed = seed, .request = 0, .position = 1, .purpose = RngPurpose::Workload});
  std::vector<std::int64_t> times;
  times.reserve(static_cast<std::size_t>(count));
  double seconds = 0;
  for (int i = 0; i < count; ++i) {
    times.push_back(static_cast<std::int64_t>(seconds * 1e9));
    seconds += -std::log1p(-rng.uniform()) / rate_per_second;
  }
  return times;
}

std::function<void(const decoding::RoundEvent&)> RoundClock::listener() {
  return [this](const decoding::RoundEvent& event) {
    ends_[event.request.id].push_back(watch_.elapsed_ns() - arrival_[event.request.id]);
  };
}

RequestTiming RoundClock::take(std::uint64_t request) {
  RequestTiming timing{arrival_[request], watch_.elapsed_ns() - arrival_[request], std::move(ends_[request])};
  arrival_.erase(request);
  ends_.erase(request);
  return timing;
}

bool run_open_loop(decoding::Decoder& decoder, RoundClock& clock, std::vector<Arrival> arrivals, const OpenLoop& loop) {
  std::deque<Arrival> waiting(arrivals.begin(), arrivals.end());  // by time
  std::map<std::uint64_t, Arrival> running;
  while (!waiting.empty() || !decoder.idle()) {
    if (util::interrupted()) return false;
    while (!waiting.empty() && decoder.has_free_slot() && waiting.front().at_ns <= clock.now_ns()) {
      const Arrival arrival = waiting.front();
      waiting.pop_front();
      const Request request = loop.request(arrival);
      clock.arrives(request.id, arrival.at_ns);
      running[request.id] = arrival;
      decoder.add_request(request);
    }
    if (decoder.idle()) {
      if (!waiting.empty()) sleep_ns(std::max<std::int64_t>(0, waiting.front().at_ns - clock.now_ns()));
      continue;
    }
    decoder.step();
    for (Generation& done : decoder.take_finished()) {
      const std::uint64_t id = done.request;
      const Arrival arrival = running.at(id);
      running.erase(id);
      // A next turn goes before those that have not come yet.
      for (Arrival next : loop.ended(arrival, std::move(done), clock.take(id))) {
        next.at_ns = clock.now_ns();
        const auto place = std::upper_bound(waiting.begin(), waiting.end(), next.at_ns,
                                            [](std::int64_t at, const Arrival& other) { return at < other.at_ns; });
        waiting.insert(place, next);
      }
    }
  }
  return true;
}

}  // namespace foretell::workload
