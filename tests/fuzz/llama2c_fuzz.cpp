// libFuzzer target: llama2.c checkpoints of any bytes.
#include <cstddef>
#include <cstdint>

#include "framework/core/error.h"
#include "framework/formats/llama2c.h"
#include "tests/support/rooms.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    foretell::parse_llama2c({reinterpret_cast<const std::byte*>(data), size}, "fuzz");
  } catch (const foretell::Error&) {
  }
  return 0;
}
