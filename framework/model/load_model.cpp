#include "framework/model/load_model.h"

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include "framework/base/error.h"
#include "framework/model/files/model_weights.h"
#include "framework/model/transformer.h"

namespace foretell {
namespace {

std::optional<at::ScalarType> scalar_type(StoredType type) {
  switch (type) {
    case StoredType::F32: return at::kFloat;
    case StoredType::F16: return at::kHalf;
    case StoredType::BF16: return at::kBFloat16;
    case StoredType::F64: return at::kDouble;
    case StoredType::I8: return at::kChar;
    default: return std::nullopt;
  }
}

// The tensors of a checkpoint as ATen's.
class WeightSource {
 public:
  WeightSource(const Checkpoint& checkpoint, const ModelConfig& config, at::ScalarType dtype, at::Device device)
      : weights_(checkpoint, config), naming_(config.naming), dtype_(dtype), device_(device) {}

  // In the model's type; undefined if the config has no such tensor.
  at::Tensor get(const std::string& name) const {
    const at::Tensor raw = get_raw(name);
    return raw.defined() ? raw.to(dtype_) : raw;
  }
  // As it is stored.
  at::Tensor get_raw(const std::string& name) const {
    const StoredTensor* stored = weights_.find(name);
    if (stored == nullptr) return {};
    // Copied first: tensors may lie unaligned in the file.
    at::Tensor raw = at::empty(stored->shape, at::TensorOptions().dtype(*scalar_type(stored->type)));
    std::copy(stored->bytes.begin(), stored->bytes.end(), static_cast<std::byte*>(raw.mutable_data_ptr()));
    return raw;
  }
  at::Tensor layer(int layer, std::string_view part) const { return get(layer_weight_name(naming_, layer, part)); }
  at::Tensor on_device(const at::Tensor& tensor) const { return tensor.defined() ? tensor.to(device_) : tensor; }

 private:
  ModelWeights weights_;
  WeightNaming naming_;
  at::ScalarType dtype_;
  at::Device device_;
};

class Loader {
 public:
  Loader(const WeightSource& source, const ModelConfig& config) : source_(source), config_(config) {}

  TransformerWeights load() const {
    const bool gpt2 = config_.naming == WeightNaming::Gpt2;
    TransformerWeights weights;
    const at::Tensor embedding = source_.get(gpt2 ? "transformer.wte.weight" : "model.embed_tokens.weight");
    weights.embedding = source_.on_device(embedding);
    if (gpt2) weights.positions = source_.on_device(source_.get("transformer.wpe.weight"));
    for (int layer = 0; layer < config_.num_layers; ++layer) weights.layers.push_back(gpt2 ? gpt2_layer(layer) : llama_layer(layer));
    weights.final_norm = gpt2 ? norm(source_.get("transformer.ln_f.weight"), source_.get("transformer.ln_f.bias"))
                              : norm(source_.get("model.norm.weight"), {});
    weights.head = linear(config_.tie_embeddings ? embedding : source_.get("lm_head.weight"), {});
    return weights;
  }

 private:
  LayerWeights llama_layer(int layer) const {
    const auto get = [&](const char* part) { return source_.layer(layer, part); };
    const auto joined = [&](std::initializer_list<const char*> stems, const char* suffix) {
      std::vector<at::Tensor> parts;
      for (const char* stem : stems) parts.push_back(get(fmt::format("{}.{}", stem, suffix).c_str()));
      return parts[0].defined() ? at::cat(parts) : at::Tensor();
    };
    const auto fused = [&](std::initializer_list<const char*> stems) {
      if (config_.ternary) return ternary(joined(stems, "weight"), layer, stems);
      return linear(joined(stems, "weight"), joined(stems, "bias"));
    };
    return {.attention_norm = norm(get("input_layernorm.weight"), {}),
            .qkv = fused({"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}),
            .output = fused({"self_attn.o_proj"}),
            .mlp_norm = norm(get("post_attention_layernorm.weight"), {}),
            .up = fused({"mlp.gate_proj", "mlp.up_proj"}),
            .down = fused({"mlp.down_proj"})};
  }

  LayerWeights gpt2_layer(int layer) const {
    const auto get = [&](const char* part) { return source_.layer(layer, part); };
    const auto turned = [&](const std::string& stem) {
      return linear(get((stem + ".weight").c_str()).t().contiguous(), get((stem + ".bias").c_str()));
    };
    return {.attention_norm = norm(get("ln_1.weight"), get("ln_1.bias")),
            .qkv = turned("attn.c_attn"),
            .output = turned("attn.c_proj"),
            .mlp_norm = norm(get("ln_2.weight"), get("ln_2.bias")),
            .up = turned("mlp.c_fc"),
            .down = turned("mlp.c_proj")};
  }

  Norm norm(const at::Tensor& gain, const at::Tensor& bias) const {
    return {config_.norm, config_.norm_eps, source_.on_device(gain), source_.on_device(bias)};
  }

  // `weight` are the matrices of `stems`, one below the other; each has a scale of its own.
  Linear ternary(const at::Tensor& weight, int layer, std::initializer_list<const char*> stems) const {
    std::vector<at::Tensor> scales;
    for (const char* stem : stems) {
      const std::string name = layer_weight_name(config_.naming, layer, stem);
      scales.push_back(source_.get_raw(name + ".weight_scale").to(at::kDouble).expand({source_.get_raw(name + ".weight").size(0)}));
    }
    // Products are exact in float32: float64 is for what lies between them.
    const at::Tensor matrix = weight.scalar_type() == at::kDouble ? weight.to(at::kFloat) : weight;
    Linear result = Linear::ternary(source_.on_device(matrix), source_.on_device(at::cat(scales)));
    result.pack();
    return result;
  }

  Linear linear(const at::Tensor& weight, const at::Tensor& bias) const {
    Linear result(source_.on_device(weight), source_.on_device(bias));
    result.pack();
    return result;
  }

  const WeightSource& source_;
  const ModelConfig& config_;
};

// What the config says, else the type of the first floating-point tensor. float16 has too small a range to compute in, so float32 stands in.
at::ScalarType own_dtype(const ModelConfig& config, const Checkpoint& checkpoint) {
  if (config.dtype) return *config.dtype == "bfloat16" ? at::kBFloat16 : *config.dtype == "float64" ? at::kDouble : at::kFloat;
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    const auto type = scalar_type(tensor.type);
    if (type && at::isFloatingType(*type)) return *type == at::kBFloat16 ? at::kBFloat16 : at::kFloat;
  }
  return at::kFloat;
}

}  // namespace

at::ScalarType parse_dtype(std::string_view text) {
  if (text == "f32" || text == "float32") return at::kFloat;
  if (text == "bf16" || text == "bfloat16") return at::kBFloat16;
  if (text == "f64" || text == "float64") return at::kDouble;
  fail("unknown dtype '{}'; known: f32, bf16, f64", text);
}

at::Device parse_device(std::string_view text) {
  if (text == "cpu") return at::kCPU;
  const std::string_view number = text.starts_with("cuda:") ? text.substr(5) : "0";
  const bool is_number = !number.empty() && number.size() <= 2 && number.find_first_not_of("0123456789") == std::string_view::npos;
  if ((text != "cuda" && !text.starts_with("cuda:")) || !is_number) fail("unknown device '{}'; known: cpu, cuda, cuda:N", text);
  if (!at::hasCUDA()) fail("device '{}': this build or this machine has no CUDA; known here: cpu", text);
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(std::stoi(std::string(number))));
}

std::shared_ptr<const LanguageModel> load_model(const std::filesystem::path& folder, const ModelLoadOptions& options) {
  const ModelConfig config = load_model_config(folder);
  const Checkpoint checkpoint = Checkpoint::open(folder);
  const at::ScalarType dtype = options.dtype.value_or(own_dtype(config, checkpoint));
  if (dtype != at::kFloat && dtype != at::kBFloat16 && dtype != at::kDouble)
    fail("{}: models are computed in f32, bf16 or f64", folder.string());
  const WeightSource source(checkpoint, config, dtype, options.device);
  return std::make_shared<Transformer>(config, Loader(source, config).load());
}

}  // namespace foretell
