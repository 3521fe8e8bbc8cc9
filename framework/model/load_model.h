// Loading a checkpoint folder in the Hugging Face layout as a LanguageModel.
//
// Contract: the folder holds config.json, optionally generation_config.json, and model.safetensors or
// model.safetensors.index.json with its shards. What is missing, damaged, of a wrong shape or of an unknown
// architecture is an Error of one line that names the file. Matrices are copied (converted, fused, packed) out of the
// mapped files; an embedding table and norms of the model's own type stay where they are in their file, which is mapped
// as long as the model lives.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>

#include "framework/kernels/int4_matrix.h"
#include "framework/model/language_model.h"

namespace foretell::formats {
class Checkpoint;
}

namespace foretell::model {

class Transformer;

struct ModelLoadOptions {
  // float32, bfloat16 or float64. Default: what the checkpoint says (config.json, else its first tensor); float16 is
  // computed in float32.
  std::optional<at::ScalarType> dtype;
  at::Device device = at::kCPU;
  bool int8 = false;        // matrices with 8-bit weights, a scale for each output; all else as above. On the CPU only
  bool int8_cache = false;  // keys and values as int8, a scale for each token of a head. On the CPU, in f32 and bf16
  // Matrices with 4-bit weights and a scale for each group of inputs (int4_matrix.h), the head with 8-bit weights; all
  // else as above. On the CPU only.
  std::optional<kernels::Int4Format> int4 = {};
  // Positions that there have to be, beyond the checkpoint's context too: for measurements. Not for learned positions.
  int least_context = 0;
};

std::shared_ptr<const LanguageModel> load_model(const std::filesystem::path& folder,
                                                const ModelLoadOptions& options = {});

// Of a checkpoint and its config.
std::shared_ptr<const Transformer> load_model_of(const std::shared_ptr<const formats::Checkpoint>& checkpoint,
                                                 const formats::ModelConfig& config, const ModelLoadOptions& options);

// "int4", "int4:64" (inputs of a group, 32 without it), "int4z", "int4z:64" (with zero points); nothing for another
// dtype, an Error for another group.
std::optional<kernels::Int4Format> parse_int4(std::string_view text);

// "f32" / "float32", "bf16" / "bfloat16" or "f64" / "float64"; anything else is an Error that lists them.
at::ScalarType parse_dtype(std::string_view text);

// "cpu", "cuda" or "cuda:N"; an Error if this build or this machine has no such device.
at::Device parse_device(std::string_view text);

}  // namespace foretell::model
