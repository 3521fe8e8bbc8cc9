// What this machine can do at its best, and the file of a device that says so (framework/cost/operators/hardware.h).
//
// Contract: read bandwidth by threads and size of the working set, peaks of arithmetic by number format, and the cost
// of a parallel region, as read_bandwidth.h and arithmetic_peak.h say; about half a minute. Other work on the machine
// makes every figure smaller.
#pragma once

#include <string>
#include <vector>

#include "framework/cost/operators/hardware.h"
#include "framework/measurement/arithmetic_peak.h"
#include "framework/measurement/read_bandwidth.h"

namespace foretell::measurement {

struct BenchMachineOptions {
  std::size_t largest_bytes = std::size_t{1} << 30;  // of a working set; less where memory is short
  double seconds = 0.2;                              // of each figure
};

struct ParallelRegion {
  int threads = 1;
  double seconds = 0;
};

struct BenchMachineReport {
  int threads = 1;  // the most
  bool large_pages = false;
  std::vector<ReadBandwidth> reads = {};  // by threads, then by size, ascending
  std::vector<ArithmeticPeak> peaks = {};
  std::vector<ParallelRegion> regions = {};
};

// With LibTorch's threads as they are set, and with half of them, a quarter ... one.
BenchMachineReport bench_machine(const BenchMachineOptions& options);

// With all threads. The bandwidth is that of the largest working set; smaller ones that are faster are levels of their
// own.
cost::operators::Hardware hardware_of(const BenchMachineReport& report, const std::string& name,
                                      const std::string& source);

}  // namespace foretell::measurement
