#include "experiments/util/interrupt.h"

#include <csignal>

namespace foretell::util {
namespace {

volatile std::sig_atomic_t stop_requested = 0;

extern "C" void on_signal(int number) {
  stop_requested = 1;
  std::signal(number, SIG_DFL);  // the second one is not held back
}

}  // namespace

InterruptGuard::InterruptGuard() {
  stop_requested = 0;
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
}

InterruptGuard::~InterruptGuard() {
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

bool interrupted() { return stop_requested != 0; }

}  // namespace foretell::util
