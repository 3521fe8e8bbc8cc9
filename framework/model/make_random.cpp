#include "framework/model/make_random.h"

#include <cmath>
#include <vector>

#include "framework/core/counter_normal.h"
#include "framework/core/error.h"
#include "framework/formats/model_config.h"
#include "framework/formats/safetensors.h"
#include "framework/formats/stored_numbers.h"
#include "framework/formats/weight_list.h"
#include "framework/io/mapped_file.h"

namespace foretell::model {
namespace {

struct Scale {
  float mean = 0;
  float deviation = 1;
};

Scale scale_of(const formats::WeightSpec& spec) {
  switch (spec.kind) {
    case formats::WeightKind::Matrix: return {0, 1.0f / std::sqrt(static_cast<float>(spec.inputs))};
    case formats::WeightKind::Embedding: return {0, 3.0f / std::sqrt(static_cast<float>(spec.inputs))};
    case formats::WeightKind::Gain: return {1, 0.05f};
    case formats::WeightKind::Bias: return {0, 0.02f};
    case formats::WeightKind::Ternary: return {0, 1};
    case formats::WeightKind::TernaryScale: return {std::sqrt(1.5f * static_cast<float>(spec.inputs)), 0};
  }
  return {};
}

// -1, 0 and 1, about a third each: 0.43 deviations from the middle cut a normal distribution into thirds.
void fill_ternary(std::span<std::byte> out, std::uint64_t key) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    const float value = normal_at(key, i);
    out[i] = static_cast<std::byte>(value > 0.43f ? 1 : value < -0.43f ? -1 : 0);
  }
}

void fill(std::span<std::byte> out, formats::StoredType type, const Scale& scale, std::uint64_t key) {
  const std::size_t size = formats::bytes_of(type);
  for (std::size_t i = 0; i < out.size() / size; ++i) {
    const float value = scale.mean + scale.deviation * normal_at(key, i);
    formats::write_stored(type, value, out.data() + i * size);
  }
}

}  // namespace

void make_random(const std::filesystem::path& config_json, const std::filesystem::path& out_dir, std::uint64_t seed) {
  formats::ModelConfig config =
      formats::parse_model_config(io::MappedFile::open(config_json).text(), config_json.string());
  if (!config.dtype) config.dtype = "float32";
  const formats::StoredType type = formats::stored_type(config.dtype);
  std::vector<formats::NewTensor> tensors;
  for (const formats::WeightSpec& spec : formats::weight_list(config)) {
    const std::uint64_t key = mix64(seed ^ mix64(name_hash(spec.name)));
    if (spec.kind == formats::WeightKind::Ternary) {
      tensors.push_back(
          {spec.name, formats::StoredType::I8, spec.shape, [=](std::span<std::byte> out) { fill_ternary(out, key); }});
      continue;
    }
    tensors.push_back({spec.name, type, spec.shape,
                       [=, scale = scale_of(spec)](std::span<std::byte> out) { fill(out, type, scale, key); }});
  }
  formats::write_model_config(out_dir, config);
  formats::write_safetensors(out_dir / "model.safetensors", tensors);
}

}  // namespace foretell::model
