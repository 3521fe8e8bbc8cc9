// libFuzzer target: config.json of an MLP speculator out of any bytes. Refusals are Errors; everything else is a
// finding.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/head_targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    foretell::fuzz::read_mlp_speculator_config(text, "fuzz");
  } catch (const foretell::Error&) {
  }
  return 0;
}
