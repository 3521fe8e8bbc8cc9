// How fast this machine's memory can be read, as a forward pass could read weights at best.
//
// Contract: a buffer of large pages (where the system gives them), a part for each thread, which fills and reads its
// own part again and again in 64-byte vectors, summed so that every byte is used. A part is read as one, two, four or
// eight streams side by side, with lines prefetched so far ahead, because the hardware's own prefetching stops at the
// end of a page and one stream does not keep enough lines on their way; what is best differs by machine and by size, so
// all of them are tried and the fastest one counts. A working set that a cache holds is read as often as a few
// milliseconds allow, so that the cost of starting threads does not matter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace foretell::measurement {

// Linux's estimate of what can be had without swapping; 0 if it is not told.
std::size_t available_memory();

struct ReadWay {
  int streams = 1;
  int ahead = 0;  // bytes that are prefetched
};

struct ReadBandwidth {
  std::size_t bytes = 0;  // of the working set, all threads together
  int threads = 1;
  double bytes_per_second = 0;  // the best pass
  ReadWay way = {};
};

class ReadBuffer {
 public:
  // For working sets up to `bytes` by up to `threads` threads, which are there already (kernels::use_threads). An Error
  // if the memory cannot be had.
  ReadBuffer(std::size_t bytes, int threads);
  ~ReadBuffer();
  ReadBuffer(const ReadBuffer&) = delete;
  ReadBuffer& operator=(const ReadBuffer&) = delete;

  bool has_large_pages() const { return large_pages_; }
  // At least a kilobyte for each thread. Takes at most about `seconds`, but every way is tried once.
  ReadBandwidth read(std::size_t bytes, int threads, double seconds) const;

 private:
  double pass(std::size_t part, int threads, ReadWay way, int times) const;  // seconds

  std::uint64_t* words_ = nullptr;
  std::size_t mapped_ = 0, part_ = 0;  // bytes; of a thread
  int threads_ = 1;
  bool large_pages_ = false;
};

}  // namespace foretell::measurement
