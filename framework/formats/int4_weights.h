// 4-bit weights as GPTQ and AWQ checkpoints store them (Frantar et al. 2022, arXiv 2210.17323; Lin et al. 2023, arXiv
// 2306.00978), in the layouts of AutoGPTQ and AutoAWQ ("gemm").
//
// Contract: a matrix STEM of [out, in] is stored as STEM.qweight, STEM.qzeros (int32), STEM.scales (a float type) and,
// with GPTQ, STEM.g_idx (int32, may be left out): weight = scale * (q - zero), with a scale and a zero for each group
// of inputs. Eight numbers lie in 32 bits. GPTQ: qweight [in / 8, out] has eight inputs in a word, the first in the
// lowest bits, and zeros are stored less one (not so in `checkpoint_format: gptq_v2`). AWQ: qweight [in, out / 8] has
// eight outputs in a word, in the order 0, 2, 4, 6, 1, 3, 5, 7. qzeros is [groups, out / 8] in both. g_idx says which
// group an input belongs to. What does not fit is an Error of one line. Torch-free.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "framework/formats/safetensors.h"
#include "framework/io/json.h"

namespace foretell::formats {

// What config.json says of them.
struct Int4Storage {
  enum class Layout { Gptq, GptqV2, Awq } layout = Layout::Gptq;
  std::optional<int> group = {};  // inputs; none: all of a matrix are one
  friend bool operator==(const Int4Storage&, const Int4Storage&) = default;
};

// From `quantization_config`; nothing if there is none, or one of another method; an Error for other forms of these
// two.
std::optional<Int4Storage> parse_int4_storage(const io::JsonObject& config);
// The `quantization_config` that is read as this.
nlohmann::ordered_json int4_storage_json(const Int4Storage& storage);

struct Int4Tensors {
  int group = 0;
  std::int64_t inputs = 0;
  std::vector<std::uint8_t> q;      // [out, in], 0 ... 15, the inputs of a group side by side
  std::vector<float> scales;        // [out, groups]
  std::vector<std::uint8_t> zeros;  // [out, groups], 0 ... 16
  std::vector<std::int64_t> order;  // [in]: which input stands where in q; empty: each in its own place
};

bool has_int4(const StoredTensors& tensors, const std::string& stem);

// The tensors of a stem, with their shapes and types checked.
struct StoredInt4 {
  const StoredTensor *qweight = nullptr, *qzeros = nullptr, *scales = nullptr, *order = nullptr;
  std::int64_t outputs = 0, inputs = 0, group = 0;
};
// `file` is what an Error names.
StoredInt4 find_int4(const StoredTensors& tensors, const std::string& stem, std::int64_t outputs, std::int64_t inputs,
                     const Int4Storage& storage, const std::string& file);
Int4Tensors read_int4(const StoredInt4& stored, const Int4Storage& storage, const std::string& stem,
                      const std::string& file);

}  // namespace foretell::formats
