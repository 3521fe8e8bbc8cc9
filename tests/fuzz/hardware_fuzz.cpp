// libFuzzer target: any bytes as the YAML file of a device.
#include "tests/fuzz/cost_targets.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  if (size <= 4096) foretell::fuzz::hardware({reinterpret_cast<const char*>(data), size});
  return 0;
}
