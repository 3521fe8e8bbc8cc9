// Whether other work got in the way of what is timed, and waiting until it does not.
//
// Contract: nothing is said of what the kernel does not tell. Notes to the user, a line each: "times may be off: the
// load was 5.0 before 2 threads ...".
#pragma once

#include <string>
#include <vector>

#include "framework/measurement/machine_state.h"
#include "framework/measurement/processor_time.h"

namespace foretell::runner {

class MachineWatch {
 public:
  explicit MachineWatch(int threads);
  std::vector<std::string> notes_at_start() const;
  // What became of it: the processors that others had while this object lived. A load that did no harm after all is
  // told as well.
  std::vector<std::string> notes_at_end() const;

 private:
  int threads_;
  measurement::MachineState state_;
  measurement::ProcessorTime begin_;
};

// Returns when `threads` processors are free, or after so many seconds, or when the user interrupts.
void wait_for_quiet(double seconds, int threads);

}  // namespace foretell::runner
