// What another engine drafted of one text, tensor by tensor (docs/guide/parity.md has the format).
//
// Contract: a safetensors file; names that are not known are refused, and so is a shape that is none of the format's.
// Everything but `text` may be left out. Torch-free, and a reader of hostile files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace foretell::analysis {

struct DumpedNumbers {
  std::int64_t rows = 0, columns = 0;
  std::vector<float> values = {};
  float at(std::int64_t row, std::int64_t column) const {
    return values[static_cast<std::size_t>(row * columns + column)];
  }
};

struct DraftDump {
  std::vector<std::int64_t> text;  // the committed token ids, the root of the draft last
  std::optional<DumpedNumbers> taps = {};
  std::optional<std::vector<std::int64_t>> input_ids = {}, positions = {};
  std::optional<DumpedNumbers> mask = {};  // 0 or 1
  std::optional<DumpedNumbers> logits = {};
};

DraftDump parse_draft_dump(std::span<const std::byte> bytes, const std::string& name);
DraftDump read_draft_dump(const std::filesystem::path& file);
void write_draft_dump(const std::filesystem::path& file, const DraftDump& dump);

}  // namespace foretell::analysis
