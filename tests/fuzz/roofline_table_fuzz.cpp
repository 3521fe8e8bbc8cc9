// libFuzzer target: any bytes as a published table of operators on a roofline.
#include "tests/fuzz/experiment_targets.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  if (size <= 4096) foretell::fuzz::roofline_table({reinterpret_cast<const char*>(data), size});
  return 0;
}
