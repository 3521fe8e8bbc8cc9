// A checkpoint that was read from another program's file, and how it becomes a model folder.
//
// Contract: tensors have Hugging Face's names and element order. The folder receives model.safetensors, the tokenizer
// file under the name that its kind has in such folders ("tokenizer.bin" of *.bin) and, last, config.json. Torch-free.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "framework/formats/model_config.h"
#include "framework/formats/safetensors.h"

namespace foretell::formats {

struct ImportedTensor {
  std::string name;
  StoredType type = StoredType::F32;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> bytes;
};

struct ImportedCheckpoint {
  ModelConfig config;
  std::vector<ImportedTensor> tensors;
};

void write_imported(const ImportedCheckpoint& checkpoint, const std::filesystem::path& tokenizer,
                    const std::filesystem::path& out_dir);

}  // namespace foretell::formats
