// What the fuzzer of trained exit heads does with its bytes; the test that replays the seeds does the same.
//
// Contract: any bytes either read or throw Error. What was read fits the model that it was read for.
#pragma once

#include <span>
#include <string>

#include "framework/core/error.h"
#include "framework/formats/exit_heads.h"
#include "tests/support/rooms.h"

namespace foretell::fuzz {

inline void read_exit_heads(std::span<const std::byte> bytes, const std::string& name) {
  const auto file = formats::SafetensorsFile::parse(bytes, name);
  const formats::ExitHeadShape shape{.num_layers = 4, .hidden = 2, .vocab = 3};
  for (const auto& [layer, head] : formats::exit_head_tensors(file.tensors(), shape, name)) {
    FORETELL_CHECK(layer >= 1 && layer < shape.num_layers && head.weight, "layer {}", layer);
    const std::int64_t outputs = head.translator ? shape.hidden : shape.vocab;
    const std::size_t numbers = static_cast<std::size_t>(outputs * shape.hidden);
    FORETELL_CHECK(head.weight->bytes.size() == numbers * formats::bytes_of(head.weight->type), "{} bytes",
                   head.weight->bytes.size());
    if (head.bias)
      FORETELL_CHECK(head.bias->bytes.size() == static_cast<std::size_t>(outputs) * formats::bytes_of(head.bias->type),
                     "{} bytes of a bias", head.bias->bytes.size());
  }
}

}  // namespace foretell::fuzz
