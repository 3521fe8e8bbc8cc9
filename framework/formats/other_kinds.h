// Folders that look like a model's and are something else: draft heads, adapters, other formats, quantised weights.
//
// Contract: each function throws one Error of one line that says what was found and what is expected, or returns where
// nothing of that kind is seen. They know names and keys that are published; what they do not know is refused later, as
// a tensor or a key that does not fit. Torch-free.
#pragma once

#include <filesystem>

#include "framework/formats/safetensors.h"
#include "framework/io/json.h"

namespace foretell::formats {

// By the files in it: an adapter, GGUF or other formats without a config.json. `path` may also be a file.
void refuse_other_folders(const std::filesystem::path& path);

// By keys of its config.json: a draft head, a classifier, quantised weights.
void refuse_other_configs(const io::JsonObject& config);

// By names of its tensors: heads, adapters and quantised weights whose config.json does not tell.
// `int4`: config.json tells of GPTQ's or AWQ's, which are read.
void refuse_other_tensors(const Checkpoint& checkpoint, bool int4 = false);

// Why the folder, which holds neither of the two, has no checkpoint that can be read: which other format it has, if
// any.
[[noreturn]] void refuse_missing_weights(const std::filesystem::path& folder);

}  // namespace foretell::formats
