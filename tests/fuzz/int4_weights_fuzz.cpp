// libFuzzer target: 4-bit weights in any safetensors file, in each layout. Refusals are Errors; everything else is a
// finding.
#include <cstddef>
#include <cstdint>

#include "framework/core/error.h"
#include "framework/formats/int4_weights.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace foretell::formats;
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  using Layout = Int4Storage::Layout;
  for (const Layout layout : {Layout::Gptq, Layout::GptqV2, Layout::Awq}) {
    try {
      const auto file = SafetensorsFile::parse(bytes, "fuzz");
      const Int4Storage storage{layout, 8};
      const Int4Tensors read = read_int4(find_int4(file.tensors(), "m", 8, 16, storage, "fuzz"), storage, "m", "fuzz");
      unsigned sum = 0;
      for (const std::uint8_t number : read.q) sum += number;
      for (const std::int64_t input : read.order) sum += static_cast<unsigned>(input);
      static volatile unsigned sink;
      sink = sink + sum;  // read too, so that no compiler calls it unused
    } catch (const foretell::Error&) {
    }
  }
  return 0;
}
