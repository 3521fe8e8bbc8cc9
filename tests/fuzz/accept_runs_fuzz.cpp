// libFuzzer target: any bytes as a recorded run with accept lengths for every position.
#include "tests/fuzz/text_targets.h"
#include "tests/support/rooms.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  foretell::fuzz::accept_runs({reinterpret_cast<const char*>(data), size});
  return 0;
}
