// Each thread of a timed run on a processor of its own.
//
// Contract: while it lives, thread i of LibTorch's pool stays on one processor, the calling thread on the one that it
// is on now, so that a thread that is moved to a cold cache does not look like a slow strategy. Nothing is done where
// the process may use fewer processors than it has threads, or where the system does not let it. Processors are given
// back at the end.
#pragma once

namespace foretell::measurement {

class PinnedThreads {
 public:
  explicit PinnedThreads(bool wanted);
  ~PinnedThreads();
  PinnedThreads(const PinnedThreads&) = delete;
  PinnedThreads& operator=(const PinnedThreads&) = delete;

  bool pinned() const { return threads_ > 0; }

 private:
  int threads_ = 0;
};

}  // namespace foretell::measurement
