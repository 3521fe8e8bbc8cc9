// libFuzzer target: what exit policies and layer sets read, out of any bytes. Refusals are Errors; everything else is a
// finding.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/head_targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  try {
    foretell::fuzz::read_exit_files(bytes, "fuzz");
  } catch (const foretell::Error&) {
  }
  return 0;
}
