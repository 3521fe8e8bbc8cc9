// Ctrl-C ends a long command cleanly.
//
// Contract: while an InterruptGuard lives, the first SIGINT (or SIGTERM) only sets a flag, which the command looks at
// between prompts or rounds; a second one ends the process at once. Without a guard signals do what they always do.
#pragma once

#include <stdexcept>

namespace foretell::util {

class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
};

bool interrupted();

// What a command throws after it has put its things in order. what() says what was kept.
class Interrupted : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace foretell::util
