// Importing llama2.c's checkpoint files (versions 0 and 1, float32) as a Hugging Face llama folder.
//
// Contract: the config is of the family llama, all tensors are float32. The file's size must be exactly what its header
// asks for.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include "framework/formats/imported.h"

namespace foretell::formats {

// `name` is what an Error calls the bytes.
ImportedCheckpoint parse_llama2c(std::span<const std::byte> bytes, const std::string& name);

void import_llama2c(const std::filesystem::path& file, const std::filesystem::path& tokenizer,
                    const std::filesystem::path& out_dir);

}  // namespace foretell::formats
