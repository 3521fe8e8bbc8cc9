#include "framework/measurement/read_bandwidth.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <limits>
#include <string>

#include "framework/core/cpu_clones.h"
#include "framework/core/error.h"
#include "framework/core/stopwatch.h"
#include "framework/kernels/worker_threads.h"

namespace foretell::measurement {
namespace {

constexpr std::size_t kLargePage = std::size_t{2} << 20;
constexpr int kStep = 256;  // bytes of a stream that are read before the next one's turn
constexpr double kShortestSeconds = 2e-3;
constexpr ReadWay kWays[] = {{1, 0},    {1, 1024}, {2, 0}, {2, 1024}, {4, 0},
                             {4, 1024}, {4, 2048}, {8, 0}, {8, 512},  {8, 1024}};

using Words = std::uint64_t __attribute__((vector_size(64)));

// Everything is inlined into the caller, in the instructions that it is compiled for.
template <int kStreams>
inline __attribute__((always_inline)) std::uint64_t sum_streams(const std::uint64_t* words, std::size_t bytes,
                                                                std::size_t ahead) {
  constexpr int kLines = kStep / 64;
  const auto* from = reinterpret_cast<const char*>(words);
  const std::size_t stream = bytes / kStreams / kStep * kStep;
  Words sums[kLines] = {};
  for (std::size_t at = 0; at < stream; at += kStep) {
#pragma GCC unroll 8
    for (int s = 0; s < kStreams; ++s) {
      const char* line = from + s * stream + at;
#pragma GCC unroll 4
      for (int i = 0; i < kLines; ++i) {
        if (ahead > 0) __builtin_prefetch(line + ahead + 64 * i);
        Words value;
        std::memcpy(&value, line + 64 * i, sizeof value);
        sums[i] += value;
      }
    }
  }
  Words sum = {};
  for (const Words& of : sums) sum += of;
  std::uint64_t total = 0;
  for (int i = 0; i < 8; ++i) total += sum[i];
  return total;
}

FORETELL_CLONES std::uint64_t sum_one(const std::uint64_t* words, std::size_t bytes, std::size_t ahead) {
  return sum_streams<1>(words, bytes, ahead);
}
FORETELL_CLONES std::uint64_t sum_two(const std::uint64_t* words, std::size_t bytes, std::size_t ahead) {
  return sum_streams<2>(words, bytes, ahead);
}
FORETELL_CLONES std::uint64_t sum_four(const std::uint64_t* words, std::size_t bytes, std::size_t ahead) {
  return sum_streams<4>(words, bytes, ahead);
}
FORETELL_CLONES std::uint64_t sum_eight(const std::uint64_t* words, std::size_t bytes, std::size_t ahead) {
  return sum_streams<8>(words, bytes, ahead);
}

std::uint64_t sum_of(const std::uint64_t* words, std::size_t bytes, ReadWay way) {
  const auto ahead = static_cast<std::size_t>(way.ahead);
  if (way.streams == 1) return sum_one(words, bytes, ahead);
  if (way.streams == 2) return sum_two(words, bytes, ahead);
  return way.streams == 4 ? sum_four(words, bytes, ahead) : sum_eight(words, bytes, ahead);
}

// What all ways read of so many bytes: whole steps of eight streams.
std::size_t whole_steps(std::size_t bytes) { return bytes / (8 * kStep) * (8 * kStep); }

}  // namespace

std::size_t available_memory() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  std::size_t kilobytes = 0;
  for (std::string unit; file >> key >> kilobytes; std::getline(file, unit)) {
    if (key == "MemAvailable:") return kilobytes * 1024;
  }
  return 0;
}

ReadBuffer::ReadBuffer(std::size_t bytes, int threads) : threads_(threads) {
  part_ = (bytes / threads + kLargePage - 1) / kLargePage * kLargePage;
  mapped_ = part_ * threads + kLargePage;  // lines that are prefetched behind the last part are there as well
  void* memory = ::mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fail("not enough memory: {} MiB to be read", mapped_ >> 20);
  large_pages_ = ::madvise(memory, mapped_, MADV_HUGEPAGE) == 0;
  words_ = static_cast<std::uint64_t*>(memory);
  // Memory belongs to the processor that touches it first.
  kernels::on_each_thread(threads, [&](int thread) {
    std::uint64_t* part = words_ + thread * (part_ / sizeof *words_);
    std::fill(part, part + part_ / sizeof *words_, 1);
  });
}

ReadBuffer::~ReadBuffer() { ::munmap(words_, mapped_); }

double ReadBuffer::pass(std::size_t part, int threads, ReadWay way, int times) const {
  std::atomic<std::uint64_t> sum = 0;
  const Stopwatch watch;
  kernels::on_each_thread(threads, [&](int thread) {
    std::uint64_t own = 0;
    for (int i = 0; i < times; ++i) own += sum_of(words_ + thread * (part_ / sizeof *words_), part, way);
    sum += own;
  });
  const double seconds = static_cast<double>(watch.elapsed_ns()) * 1e-9;
  const std::uint64_t expected = static_cast<std::uint64_t>(times) * threads * (part / sizeof *words_);
  FORETELL_CHECK(sum == expected, "sum {} of {} ones", sum.load(), expected);
  return seconds;
}

ReadBandwidth ReadBuffer::read(std::size_t bytes, int threads, double seconds) const {
  FORETELL_CHECK(threads >= 1 && threads <= threads_, "{} threads of {}", threads, threads_);
  const std::size_t part = std::max<std::size_t>(whole_steps(std::min(bytes / threads, part_)), 8 * kStep);
  ReadBandwidth best{.bytes = part * threads, .threads = threads};
  const Stopwatch watch;
  // The first pass brings the part into the cache, and says how many take long enough to be timed.
  const double once = pass(part, threads, kWays[0], 1);
  const int times = static_cast<int>(std::clamp(kShortestSeconds / once, 1.0, 1e6));
  do {
    for (const ReadWay& way : kWays) {
      const double rate = static_cast<double>(part) * threads * times / pass(part, threads, way, times);
      if (rate <= best.bytes_per_second) continue;
      best.bytes_per_second = rate;
      best.way = way;
    }
  } while (static_cast<double>(watch.elapsed_ns()) * 1e-9 < seconds);
  return best;
}

}  // namespace foretell::measurement
