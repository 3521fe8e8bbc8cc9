#include "framework/measurement/bench_machine.h"

#include <ATen/Parallel.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "framework/core/error.h"

namespace foretell::measurement {
namespace {

constexpr std::size_t kSmallest = std::size_t{64} << 10;  // of a working set, for each thread
constexpr std::size_t kFewest = std::size_t{64} << 20;
constexpr double kFaster = 1.1;  // what is a level of its own

std::size_t largest_set(std::size_t wanted) {
  const std::size_t available = available_memory();
  const std::size_t bytes = available == 0 ? wanted : std::min(wanted, available / 2);
  if (bytes < kFewest) fail("bench machine: {} MiB of memory can be had, {} are needed", bytes >> 20, kFewest >> 20);
  return bytes;
}

std::vector<int> thread_counts(int most) {
  std::vector<int> counts;
  for (int count = most; count > 0; count /= 2) counts.insert(counts.begin(), count);
  return counts;
}

// Four digits: more are noise.
double rounded(double value) {
  if (value <= 0) return value;
  const double unit = std::pow(10.0, std::floor(std::log10(value)) - 3);
  return std::round(value / unit) * unit;
}

std::optional<double> rounded_peak(const ArithmeticPeak& peak) {
  const std::optional<double> best = peak.best();
  return best ? std::optional(rounded(*best)) : best;
}

std::optional<double> system_bytes(int pages_or_size, bool pages) {
  const long value = ::sysconf(pages_or_size);
  if (value <= 0) return std::nullopt;
  return static_cast<double>(value) * (pages ? static_cast<double>(::sysconf(_SC_PAGESIZE)) : 1);
}

}  // namespace

BenchMachineReport bench_machine(const BenchMachineOptions& options) {
  BenchMachineReport report{.threads = at::get_num_threads()};
  {
    const std::size_t largest = largest_set(options.largest_bytes);
    const ReadBuffer buffer(largest, report.threads);
    report.large_pages = buffer.has_large_pages();
    for (const int threads : thread_counts(report.threads)) {
      std::size_t bytes = kSmallest * static_cast<std::size_t>(threads);
      for (; bytes < largest; bytes *= 4) report.reads.push_back(buffer.read(bytes, threads, options.seconds));
      // One thread reads its own part of the buffer, as it would of the weights.
      report.reads.push_back(buffer.read(largest / report.threads * threads, threads, options.seconds));
      report.regions.push_back({threads, parallel_region_seconds(threads)});
    }
  }
  report.peaks = measure_arithmetic_peaks(options.seconds);
  return report;
}

cost::operators::Hardware hardware_of(const BenchMachineReport& report, const std::string& name,
                                      const std::string& source) {
  cost::operators::Hardware hardware{.name = name, .source = source};
  hardware.launch = rounded(report.regions.back().seconds);
  std::vector<ReadBandwidth> reads;
  for (const ReadBandwidth& read : report.reads)
    if (read.threads == report.threads) reads.push_back(read);
  hardware.bandwidth = rounded(reads.back().bytes_per_second);
  for (auto read = reads.begin(); read != reads.end() - 1; ++read) {
    // A level holds what the smaller ones hold as well.
    double slowest = read->bytes_per_second;
    for (auto smaller = reads.begin(); smaller != read; ++smaller)
      slowest = std::min(slowest, smaller->bytes_per_second);
    if (slowest > kFaster * hardware.bandwidth)
      hardware.working_sets.push_back({static_cast<double>(read->bytes), rounded(slowest)});
  }
  for (const ArithmeticPeak& peak : report.peaks)
    (peak.format == "fp32"   ? hardware.peak.fp32
     : peak.format == "bf16" ? hardware.peak.bf16
                             : hardware.peak.int8) = rounded_peak(peak);
  hardware.memory = system_bytes(_SC_PHYS_PAGES, true);
#ifdef _SC_LEVEL2_CACHE_SIZE
  hardware.onchip_buffer = system_bytes(_SC_LEVEL2_CACHE_SIZE, false);
#endif
  return hardware;
}

}  // namespace foretell::measurement
