// libFuzzer target: a dump of another engine's draft out of any bytes. Refusals are Errors; everything else is a
// finding.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/experiment_targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  foretell::fuzz::draft_dump({reinterpret_cast<const char*>(data), size});
  return 0;
}
