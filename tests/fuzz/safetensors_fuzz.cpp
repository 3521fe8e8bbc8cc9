// libFuzzer target: the safetensors reader and the shard index on any bytes. Refusals are Errors; everything else is a
// finding.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "framework/core/error.h"
#include "framework/formats/safetensors.h"
#include "tests/support/rooms.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  try {
    const auto file = foretell::SafetensorsFile::parse(bytes, "fuzz");
    unsigned sum = 0;
    for (const auto& [name, tensor] : file.tensors()) {
      for (const std::byte byte : tensor.bytes) sum += static_cast<unsigned>(byte);
    }
    static volatile unsigned sink;
    sink = sink + sum;  // read too, so that no compiler calls it unused
  } catch (const foretell::Error&) {
  }
  try {
    foretell::parse_shard_index(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz");
  } catch (const foretell::Error&) {
  }
  return 0;
}
