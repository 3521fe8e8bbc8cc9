#include "framework/kernels/work_phases.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <optional>
#include <vector>

#include "framework/core/error.h"

namespace foretell::kernels {
namespace {

constexpr std::uint32_t kMostNumbers = 1 << 16;
constexpr int kSpins = 2000;  // some ten microseconds: what a phase of a small model takes

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

class PhaseBoard {
 public:
  PhaseBoard(std::span<const int> chunks, int threads, const RunChunk& run)
      : chunks_(chunks), run_(run), queues_(static_cast<std::size_t>(threads)) {
    open(next_phase(0));
  }

  // What one thread does, from whatever phase is open when it comes.
  void work(int thread) {
    for (int phase = phase_of(own(thread)); phase < phases(); phase = wait_behind(phase, thread)) {
      const int taken = run_all(phase, thread);
      if (taken > 0 && left_.fetch_sub(taken, std::memory_order_acq_rel) == taken) open(next_phase(phase + 1));
    }
  }

  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  // The open phase and the next chunk of one thread's part of it.
  struct alignas(64) Queue {
    std::atomic<std::uint32_t> word{0};
  };
  static int phase_of(std::uint32_t word) { return static_cast<int>(word / kMostNumbers); }
  static int chunk_of(std::uint32_t word) { return static_cast<int>(word % kMostNumbers); }
  static std::uint32_t word_of(int phase, int chunk) {
    return static_cast<std::uint32_t>(phase) * kMostNumbers + static_cast<std::uint32_t>(chunk);
  }

  int phases() const { return static_cast<int>(chunks_.size()); }
  int threads() const { return static_cast<int>(queues_.size()); }
  std::uint32_t own(int thread) const {
    return queues_[static_cast<std::size_t>(thread)].word.load(std::memory_order_acquire);
  }
  // The first chunk of a thread's part.
  int part(int phase, int thread) const { return chunks_[static_cast<std::size_t>(phase)] * thread / threads(); }
  int next_phase(int phase) const {
    while (phase < phases() && chunks_[static_cast<std::size_t>(phase)] == 0) ++phase;
    return phase;
  }

  void open(int phase) {
    if (phase < phases()) left_.store(chunks_[static_cast<std::size_t>(phase)], std::memory_order_relaxed);
    for (int thread = 0; thread < threads(); ++thread) {
      std::atomic<std::uint32_t>& word = queues_[static_cast<std::size_t>(thread)].word;
      word.store(word_of(phase, phase < phases() ? part(phase, thread) : 0));
      word.notify_all();
    }
  }

  // A chunk of the part of `thread`, if there is one left.
  std::optional<int> take(int phase, int thread) {
    std::atomic<std::uint32_t>& word = queues_[static_cast<std::size_t>(thread)].word;
    std::uint32_t now = word.load(std::memory_order_acquire);
    while (phase_of(now) == phase && chunk_of(now) < part(phase, thread + 1))
      if (word.compare_exchange_weak(now, now + 1, std::memory_order_acq_rel, std::memory_order_acquire))
        return chunk_of(now);
    return std::nullopt;
  }

  // Whether all parts of the phase have been opened: one that has not may hold chunks yet.
  bool is_open(int phase) const {
    return std::ranges::all_of(
        queues_, [phase](const Queue& queue) { return phase_of(queue.word.load(std::memory_order_acquire)) >= phase; });
  }

  // All chunks that there are for this thread; how many.
  int run_all(int phase, int thread) {
    int taken = 0;
    for (bool opened = false; !opened;) {
      opened = is_open(phase);
      for (int i = 0; i < threads(); ++i)
        while (const std::optional<int> chunk = take(phase, (thread + i) % threads())) run(phase, *chunk, taken++ == 0);
    }
    return taken;
  }

  void run(int phase, int chunk, bool first) {
    if (failed_.load(std::memory_order_relaxed)) return;
    try {
      run_(phase, chunk, first);
    } catch (...) {
      const std::lock_guard only(lock_);
      if (!error_) error_ = std::current_exception();
      failed_.store(true, std::memory_order_relaxed);
    }
  }

  // The phase that is open once this one is done.
  int wait_behind(int phase, int thread) {
    for (int spins = 0; spins < kSpins; ++spins) {
      if (const int open = phase_of(own(thread)); open > phase) return open;
      pause();
    }
    const std::atomic<std::uint32_t>& word = queues_[static_cast<std::size_t>(thread)].word;
    std::uint32_t now = word.load(std::memory_order_acquire);
    for (; phase_of(now) <= phase; now = word.load(std::memory_order_acquire))
      word.wait(now, std::memory_order_acquire);
    return phase_of(now);
  }

  std::span<const int> chunks_;
  const RunChunk& run_;
  std::vector<Queue> queues_;
  alignas(64) std::atomic<int> left_{0};
  std::atomic<bool> failed_{false};
  std::mutex lock_;
  std::exception_ptr error_;
};

void run_alone(std::span<const int> chunks, const RunChunk& run) {
  for (std::size_t phase = 0; phase < chunks.size(); ++phase)
    for (int chunk = 0; chunk < chunks[phase]; ++chunk) run(static_cast<int>(phase), chunk, chunk == 0);
}

}  // namespace

void run_phases(std::span<const int> chunks, int threads, const RunChunk& run) {
  if (threads <= 1 || at::in_parallel_region()) return run_alone(chunks, run);
  FORETELL_CHECK(chunks.size() < kMostNumbers, "{} phases", chunks.size());
  for (const int count : chunks)
    FORETELL_CHECK(count >= 0 && static_cast<std::uint32_t>(count) < kMostNumbers, "a phase of {} chunks", count);
  PhaseBoard board(chunks, threads, run);
  at::parallel_for(0, threads, 1, [&](std::int64_t begin, std::int64_t) { board.work(static_cast<int>(begin)); });
  board.rethrow();
}

}  // namespace foretell::kernels
