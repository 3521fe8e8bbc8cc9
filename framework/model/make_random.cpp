#include "framework/model/make_random.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "framework/base/counter_normal.h"
#include "framework/base/error.h"
#include "framework/model/files/mapped_file.h"
#include "framework/model/files/model_config.h"
#include "framework/model/files/safetensors.h"
#include "framework/model/files/weight_list.h"

namespace foretell {
namespace {

std::uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// IEEE half precision, to the nearest, ties to even; values beyond its range become infinite (none here does).
std::uint16_t to_f16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000);
  const float magnitude = std::fabs(value);
  if (magnitude >= 65520.0f) return sign | 0x7c00;
  const int exponent = std::max(static_cast<int>((bits >> 23) & 0xff) - 127, -14);
  const auto steps = static_cast<std::uint32_t>(std::nearbyint(std::ldexp(magnitude, 10 - exponent)));  // in units of the last place
  return static_cast<std::uint16_t>(sign | (static_cast<std::uint32_t>(exponent + 14) * 1024 + steps));
}

struct Scale {
  float mean = 0;
  float deviation = 1;
};

Scale scale_of(const WeightSpec& spec) {
  switch (spec.kind) {
    case WeightKind::Matrix: return {0, 1.0f / std::sqrt(static_cast<float>(spec.inputs))};
    case WeightKind::Embedding: return {0, 3.0f / std::sqrt(static_cast<float>(spec.inputs))};
    case WeightKind::Gain: return {1, 0.05f};
    case WeightKind::Bias: return {0, 0.02f};
  }
  return {};
}

void fill(std::span<std::byte> out, StoredType type, const Scale& scale, std::uint64_t key) {
  const std::size_t size = bytes_of(type);
  for (std::size_t i = 0; i < out.size() / size; ++i) {
    const float value = scale.mean + scale.deviation * normal_at(key, i);
    const std::uint32_t bits = type == StoredType::F32    ? std::bit_cast<std::uint32_t>(value)
                               : type == StoredType::BF16 ? to_bf16(value)
                                                          : to_f16(value);
    std::memcpy(out.data() + i * size, &bits, size);
  }
}

}  // namespace

void make_random(const std::filesystem::path& config_json, const std::filesystem::path& out_dir, std::uint64_t seed) {
  ModelConfig config = parse_model_config(MappedFile::open(config_json).text(), config_json.string());
  if (!config.dtype) config.dtype = "float32";
  const StoredType type = *config.dtype == "bfloat16" ? StoredType::BF16 : *config.dtype == "float16" ? StoredType::F16 : StoredType::F32;
  std::vector<NewTensor> tensors;
  for (const WeightSpec& spec : weight_list(config)) {
    const std::uint64_t key = mix64(seed ^ mix64(name_hash(spec.name)));
    tensors.push_back(
        {spec.name, type, spec.shape, [=, scale = scale_of(spec)](std::span<std::byte> out) { fill(out, type, scale, key); }});
  }
  write_model_config(out_dir, config);
  write_safetensors(out_dir / "model.safetensors", tensors);
}

}  // namespace foretell
