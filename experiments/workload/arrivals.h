// When requests come and when their tokens were there.
//
// Contract: in a closed loop all requests of a batch come at once. In an open loop they come by themselves, at the
// times of a Poisson process with a given rate, whether or not earlier ones have ended (Schroeder, Wierman,
// Harchol-Balter 2006: closed loops hide queues); a request that finds no free slot waits, and its waiting counts.
// Times are nanoseconds.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "framework/core/stopwatch.h"
#include "framework/decoding/decoder.h"

namespace foretell::workload {

// [ns] `count` arrival times from 0 on; the same seed gives the same ones.
std::vector<std::int64_t> poisson_arrivals(int count, double rate_per_second, std::uint64_t seed);

// What a request's decoding took.
struct RequestTiming {
  std::int64_t arrival_ns = 0;
  std::int64_t wall_ns = 0;                   // from its arrival to its end
  std::vector<std::int64_t> round_ends = {};  // since its arrival
};

// Notes the ends of rounds while a decoder runs.
class RoundClock {
 public:
  // To be given to the decoder; this object must outlive it.
  std::function<void(const decoding::RoundEvent&)> listener();
  void arrives(std::uint64_t request, std::int64_t at_ns) { arrival_[request] = at_ns; }
  std::int64_t now_ns() const { return watch_.elapsed_ns(); }
  // Of a request that has just ended.
  RequestTiming take(std::uint64_t request);

 private:
  Stopwatch watch_;
  std::map<std::uint64_t, std::int64_t> arrival_;
  std::map<std::uint64_t, std::vector<std::int64_t>> ends_;
};

// One request of an open loop: who it belongs to is the caller's business.
struct Arrival {
  std::int64_t at_ns = 0;
  int conversation = 0, turn = 0;
};

struct OpenLoop {
  std::function<Request(const Arrival&)> request;
  // An answer is there; what it gives back arrives at once (the conversation's next turn).
  std::function<std::vector<Arrival>(const Arrival&, Generation, RequestTiming)> ended;
};
// Serves all arrivals, which are sorted by time. Ends early when the user interrupts: false.
bool run_open_loop(decoding::Decoder& decoder, RoundClock& clock, std::vector<Arrival> arrivals, const OpenLoop& loop);

}  // namespace foretell::workload
