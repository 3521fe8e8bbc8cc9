// Importing llama2.c's checkpoint files (versions 0 and 1, float32) as a Hugging Face llama folder.
//
// Contract: `out_dir` receives config.json (family llama), model.safetensors (float32) and the tokenizer file, copied as tokenizer.bin. llama2.c
// rotates adjacent pairs of a head's elements, Hugging Face its first half with its second: the rows of the query and key matrices are
// permuted so that both give the same scores. The file's size must be exactly what its header asks for.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "framework/model/files/model_config.h"

namespace foretell {

// One matrix or vector of the checkpoint in Hugging Face's naming and element order.
struct Llama2cTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};

struct Llama2cCheckpoint {
  ModelConfig config;
  std::vector<Llama2cTensor> tensors;
};

// `name` is what an Error calls the bytes.
Llama2cCheckpoint parse_llama2c(std::span<const std::byte> bytes, const std::string& name);

void import_llama2c(const std::filesystem::path& file, const std::filesystem::path& tokenizer, const std::filesystem::path& out_dir);

}  // namespace foretell
