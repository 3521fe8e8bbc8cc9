// Importing the ternary checkpoints of bitllama2.c (BitNet b1.58 models in a file like llama2.c's) as a model folder of
// the family bitllama.
//
// The file: llama2.c's header of version 1; float32 final norm and embedding, which is the classifier too; then for
// each of wq, wk, wv, wo, w1, w2 and w3, and in it for each layer, a float32 scale and the matrix by rows, four
// elements a byte, the first in the highest two bits: 0, 1, 3 stand for 0, 1, -1. Contract: matrices become I8 with
// "weight_scale" beside them. The file's size must be exactly what its header asks for.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include "framework/formats/imported.h"

namespace foretell::formats {

// `name` is what an Error calls the bytes.
ImportedCheckpoint parse_bitllama(std::span<const std::byte> bytes, const std::string& name);

void import_bitllama(const std::filesystem::path& file, const std::filesystem::path& tokenizer,
                     const std::filesystem::path& out_dir);

}  // namespace foretell::formats
